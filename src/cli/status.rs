//! `transom status`: what a gateway listens on, serves and reaches.

use std::process::ExitCode;

use clap::Args;

use crate::admin::pb::GetStatusRequest;
use crate::admin::pb::GetStatusResponse;
use crate::cli::client::Options;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::Paint;
use crate::cli::output::Table;
use crate::cli::output::clean;
use crate::cli::output::counted;
use crate::cli::output::show;
use crate::cli::output::time;

/// Show listeners, generation and the health of upstreams
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom status", "transom status --admin https://gw.example.com:9900"]))]
pub(super) struct Status {
    #[command(flatten)]
    gateway: Options,
}

pub(super) async fn run(args: &Status) -> Outcome {
    let admin = args.gateway.connect().await?;
    let reply = admin.reply(admin.status().get_status(GetStatusRequest {})).await?;
    show(args.gateway.output, "GetStatusResponse", &reply, |paint| told(&reply, paint))?;
    Ok(ExitCode::SUCCESS)
}

fn told(reply: &GetStatusResponse, paint: Paint) -> String {
    let mut text = format!(
        "transom {}, generation {}, started {}\n{}, {}, {}\n",
        clean(&reply.version),
        reply.generation,
        time(reply.started.as_ref()),
        counted(reply.modules, "module"),
        counted(reply.apis, "API"),
        counted(reply.methods, "method")
    );
    text.push_str(&match reply.store.as_str() {
        "" => "no store: resources are in the file alone\n".to_owned(),
        store => format!("store {}\n", clean(store)),
    });
    let answer = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut listeners = Table::new(&["LISTENER", "ADDRESS", "TLS", "HTTP/3", "CONNECTIONS"]);
    for listener in &reply.listeners {
        listeners.row([
            listener.name.clone(),
            listener.address.clone(),
            answer(listener.tls),
            answer(listener.http3),
            listener.connections.to_string(),
        ]);
    }
    let mut upstreams = Table::new(&["UPSTREAM", "ENDPOINT", "USABLE"]);
    for upstream in &reply.upstreams {
        for endpoint in &upstream.endpoints {
            upstreams.row([upstream.name.clone(), endpoint.address.clone(), answer(endpoint.usable)]);
        }
    }
    for table in [listeners, upstreams] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table.text(paint));
        }
    }
    text
}
