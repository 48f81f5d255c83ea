//! How the commands reach an Admin API: flags, the connection, calls with an end.

use std::error::Error;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::Args;
use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::Code;
use tonic::Response;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::admin::pb::configuration_client::ConfigurationClient;
use crate::admin::pb::modules_client::ModulesClient;
use crate::admin::pb::resources_client::ResourcesClient;
use crate::admin::pb::status_client::StatusClient;
use crate::cli::address::Address;
use crate::cli::address::Files;
use crate::cli::failure::Failure;
use crate::cli::failure::Outcome;
use crate::cli::failure::exit;
use crate::cli::failure::refusal;
use crate::cli::output::Format;
use crate::cli::token;
use crate::cli::wire::Broken;
use crate::cli::wire::Wire;
use crate::cli::wire::lost;

/// Flags of every command that asks a gateway.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct Options {
    /// Where the Admin API is
    #[arg(long, value_name = "URL", env = "TRANSOM_ADMIN", default_value = "http://127.0.0.1:9900")]
    admin: Address,
    /// Authorities to trust, in PEM; those of the system unless given
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A file with the token, in place of the variable TRANSOM_ADMIN_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms, 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// How to show the answer
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// Runs a command to its end on this thread.
pub(super) fn run(command: impl Future<Output = Outcome>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit(Err(Failure::unasked(error))),
    };
    let outcome = runtime.block_on(command);
    // A name that is still being looked up holds nobody.
    runtime.shutdown_background();
    exit(outcome)
}

/// An Admin API that is connected.
pub(super) struct Admin {
    wire: Wire,
    timeout: Duration,
}

impl Options {
    /// Connects to the Admin API.
    pub(super) async fn connect(&self) -> Result<Admin, Failure> {
        let authorization =
            token::authorization(self.token_file.as_deref(), std::env::var_os(token::VARIABLE))?;
        let files = Files { ca: self.ca.as_deref(), pair: self.cert.as_deref().zip(self.key.as_deref()) };
        let stream = self.admin.dial(files, self.timeout.min(CONNECT_TIMEOUT)).await?;
        let mut stream = Some(TokioIo::new(stream));
        // One connection is all that a command needs: there is no second one to be had.
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        let broken = |error: tonic::transport::Error| {
            Failure::unasked(format_args!("{} can't be asked: {error}", self.admin))
        };
        let endpoint = Endpoint::from_shared(self.admin.to_string()).map_err(broken)?;
        let endpoint = endpoint.user_agent(concat!("transom/", env!("CARGO_PKG_VERSION"))).map_err(broken)?;
        let endpoint = endpoint.http2_max_header_list_size(HEADER_BYTES_MAX);
        let shown: Arc<str> = self.admin.to_string().into();
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| Failure::unasked(lost(&shown, &error)))?;
        let wire = Wire { channel, authorization, sent: Arc::new(AtomicU64::new(0)), shown };
        Ok(Admin { wire, timeout: self.timeout })
    }
}

impl Admin {
    pub(super) fn modules(&self) -> ModulesClient<Wire> {
        ModulesClient::new(self.wire.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(super) fn resources(&self) -> ResourcesClient<Wire> {
        ResourcesClient::new(self.wire.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(super) fn configuration(&self) -> ConfigurationClient<Wire> {
        ConfigurationClient::new(self.wire.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(super) fn status(&self) -> StatusClient<Wire> {
        StatusClient::new(self.wire.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Bytes of requests that were sent so far.
    pub(super) fn sent(&self) -> &AtomicU64 {
        &self.wire.sent
    }

    /// The reply of a call, or why there is none.
    pub(super) async fn reply<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let Ok(reply) = tokio::time::timeout(self.timeout, call).await else {
            return Err(Failure::unasked(format_args!(
                "{} took more than {:?}: what it was asked for may happen all the same; --timeout waits longer",
                self.wire.shown, self.timeout
            )));
        };
        reply.map(Response::into_inner).map_err(|status| self.failure(&status))
    }

    fn failure(&self, status: &Status) -> Failure {
        let causes = || std::iter::successors(status.source(), |&error| error.source());
        if let Some(broken) = causes().find_map(|error| error.downcast_ref::<Broken>()) {
            return Failure::unasked(broken);
        }
        if status.source().is_some() {
            // No status of the gateway, but one that stands for what happened to its answer.
            let why = status.message();
            return Failure::unasked(format_args!(
                "the answer of {} broke off ({why}): ask again",
                self.wire.shown
            ));
        }
        let mut why = refusal(status);
        if status.code() == Code::Unauthenticated && self.wire.authorization.is_none() {
            why.push_str(&format!("\ngive a token in {}, or in a file by --token-file", token::VARIABLE));
        }
        Failure::Refused(why)
    }
}

/// A whole number of `ms`, `s` or `m`, at most a day.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("write a whole number with its unit: 500ms, 30s or 5m".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number with its unit: 500ms, 30s or 5m")?;
    let millis = number.checked_mul(millis).filter(|millis| (1..=DAY_MS).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "it is from 1ms to 1440m".into())
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Replies are lists of at most 1000, or a whole configuration.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// A refusal may list a hundred breaking changes.
const HEADER_BYTES_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        for (text, ms) in [("1ms", 1), ("30s", 30_000), ("5m", 300_000), ("1440m", DAY_MS)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1441m",
            "99999999999999999999s",
            "9999999999999999999m",
            "１s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
