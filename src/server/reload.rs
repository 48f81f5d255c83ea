//! Keeps the snapshot up to date: watches files, and asks servers for their descriptors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::config::Config;
use crate::config::types::ModuleSource;
use crate::config::types::Upstream;
use crate::registry::Source;
use crate::registry::Watcher;
use crate::registry::reflection;
use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::server::StartError;
use crate::server::Watch;
use crate::server::control::Control;
use crate::upstream::Stream;
use crate::upstream::Tls;
use crate::upstream::dial;

impl Control {
    /// Starts what keeps the snapshot up to date, until the runtime ends.
    pub(super) fn spawn_upkeep(self: Arc<Self>, runtime: &Handle, watch: Watch) -> Result<(), StartError> {
        let reflected = self.config().map_or(0, |config| reflected(&config).count());
        self.readiness().asking(reflected);
        runtime.spawn(self.clone().ask_servers());
        runtime.spawn(self.clone().free_retired());
        if watch == Watch::Yes {
            let watched = Watcher::start(self.sources(), QUIET);
            let (watcher, changes) =
                watched.map_err(|error| StartError::Io("the configuration can't be watched", error))?;
            runtime.spawn(self.watch_files(watcher, changes));
        }
        Ok(())
    }

    async fn watch_files(self: Arc<Self>, watcher: Watcher, mut changes: tokio::sync::watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            let control = self.clone();
            // A panic there is reported by the runtime, and the next change is tried anew.
            let _ = tokio::task::spawn_blocking(move || control.reload()).await;
            if let Err(error) = watcher.set_paths(self.sources()) {
                tracing::error!(%error, "new files of the configuration can't be watched");
            }
        }
    }

    /// Asks each server that a module names, when its time has come.
    async fn ask_servers(self: Arc<Self>) {
        let mut generations = self.generations();
        let mut due: HashMap<String, Instant> = HashMap::new();
        let mut known: HashMap<String, Schema> = HashMap::new();
        loop {
            let Some(config) = self.config() else { return };
            let mut next = Instant::now() + IDLE;
            for (module, upstream, refresh) in reflected(&config) {
                let at = *due.entry(module.into()).or_insert_with(Instant::now);
                if at <= Instant::now() {
                    // The writer may be at work: it is waited for beside this thread, which answers probes too.
                    let (control, name) = (self.clone(), upstream.name.clone());
                    let tls = tokio::task::spawn_blocking(move || control.upstream_tls(&name)).await;
                    let again = match ask(upstream, tls.ok().flatten()).await {
                        Ok(schema) => {
                            self.take(module, schema, &mut known).await;
                            refresh
                        }
                        Err(why) => {
                            tracing::warn!(module, %why, "the descriptors of a module can't be had yet");
                            refresh.min(AGAIN)
                        }
                    };
                    due.insert(module.into(), Instant::now() + again);
                }
                next = next.min(due[module]);
            }
            self.readiness().asking(0);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                changed = generations.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn take(self: &Arc<Self>, module: &str, schema: Schema, known: &mut HashMap<String, Schema>) {
        if known.get(module).is_some_and(|old| old.digest() == schema.digest()) {
            return;
        }
        let (control, name, told) = (self.clone(), module.to_owned(), schema.clone());
        // A panic there is reported by the runtime, and the server is asked again.
        let taken = tokio::task::spawn_blocking(move || control.told(&name, told)).await;
        let Ok(taken) = taken else { return };
        match taken {
            Ok(generation) => {
                known.insert(module.into(), schema);
                tracing::info!(module, generation, "a module's server told its descriptors");
            }
            Err(report) => tracing::error!(module, "a module stays as it was:\n{report}"),
        }
    }
}

/// The modules that are asked of servers: name, upstream and how often.
fn reflected(config: &Config) -> impl Iterator<Item = (&str, &Upstream, Duration)> {
    config.modules.iter().filter_map(|module| match &module.source {
        ModuleSource::Reflection { upstream, refresh } => {
            let upstream = config.upstreams.iter().find(|known| known.name == *upstream)?;
            Some((module.name.as_str(), upstream, *refresh))
        }
        _ => None,
    })
}

/// Asks the endpoints of an upstream in turn, until one tells.
async fn ask(upstream: &Upstream, tls: Option<Arc<Tls>>) -> Result<Schema, String> {
    let mut why = String::from("it has no endpoint");
    for endpoint in &upstream.endpoints {
        let told = match &tls {
            None => {
                let uri = format!("http://{}", endpoint.address);
                Source::Reflection { uri, timeout: TIMEOUT }.load(&[], &Limits::default()).await
            }
            Some(tls) => match dial(&endpoint.host, endpoint.port, Some(tls), TIMEOUT).await {
                Ok(stream) => ask_over(stream, &endpoint.address).await,
                Err(failure) => {
                    why = format!("{}: {failure}", endpoint.address);
                    continue;
                }
            },
        };
        match told {
            Ok(schema) => return Ok(schema),
            Err(faults) => {
                why = faults.first().map_or_else(String::new, ToString::to_string);
            }
        }
    }
    Err(why)
}

/// Asks over a connection that is there already.
async fn ask_over(stream: Stream, address: &str) -> Result<Schema, Vec<Fault>> {
    let uri = format!("https://{address}");
    let channel = Channel::from_shared(uri.clone()).map_err(|error| {
        vec![Fault::new(uri.as_str(), format!("it is not the address of a server: {error}"), "")]
    })?;
    let mut stream = Some(TokioIo::new(stream));
    let channel = channel.connect_with_connector_lazy(tower::service_fn(move |_| {
        let lost = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        std::future::ready(stream.take().ok_or_else(lost))
    }));
    let limits = reflection::Limits { timeout: TIMEOUT, ..reflection::Limits::default() };
    let told = reflection::fetch(channel, &[], &limits).await;
    told.map(|reflected| reflected.schema)
}

/// A change is read after this much quiet.
const QUIET: Duration = Duration::from_millis(200);
/// How often to look when no module is asked of a server.
const IDLE: Duration = Duration::from_secs(3600);
/// How soon a server that told nothing is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// For one conversation.
const TIMEOUT: Duration = Duration::from_secs(10);
