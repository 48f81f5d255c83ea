//! Certificates from ACME authorities (RFC 8555): ordered, kept, renewed, and put where listeners find them.
//!
//! Each section of a configuration that differs has one [`Slot`] and one task; listeners with the same section
//! share both. A slot that has a certificate keeps it until there is a newer one, whatever fails.

mod certificate;
mod challenges;
mod client;
mod keep;
mod order;
mod schedule;
mod store;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::config::Diag;
use crate::config::types::Acme as Asked;
use crate::observe::Metrics;
use crate::outbound::acme::certificate::Issued;
use crate::outbound::acme::keep::Keeper;
use crate::outbound::acme::keep::Told;
use crate::outbound::acme::keep::World;
use crate::outbound::acme::order::Remote;
use crate::outbound::acme::order::stored;
use crate::outbound::acme::schedule::random;
use crate::outbound::acme::store::Store;

pub use certificate::Slot;
pub use challenges::ALPN;
pub use challenges::Challenges;
pub use schedule::Pace;

/// All certificates that are asked of authorities.
pub struct Acme {
    runtime: Handle,
    challenges: Arc<Challenges>,
    plaintext: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    pace: Pace,
    provider: Arc<CryptoProvider>,
    running: Mutex<HashMap<Key, Running>>,
}

/// What makes two sections one: all that they say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    directory: String,
    domains: Vec<String>,
    email: Option<String>,
    path: PathBuf,
    ca: Option<PathBuf>,
}

impl Key {
    fn of(asked: &Asked) -> Self {
        Self {
            directory: asked.directory.clone(),
            domains: asked.domains.clone(),
            email: asked.email.clone(),
            path: asked.path.value.clone(),
            ca: asked.ca.as_ref().map(|ca| ca.value.clone()),
        }
    }
}

struct Running {
    slot: Arc<Slot>,
    /// The PEM of the authorities that the task trusts.
    ca: Option<Arc<[u8]>>,
    _task: AbortOnDropHandle<()>,
}

/// What a configuration asks for, read and ready; nothing is ordered yet.
pub struct Prepared {
    challenges: Arc<Challenges>,
    wanted: HashMap<Key, Wanted>,
    plaintext: bool,
}

struct Wanted {
    slot: Arc<Slot>,
    ca: Option<Ca>,
    /// `None` where nothing is started: it runs already, or may not be made.
    opened: Option<Opened>,
}

/// A store, and the good certificate in it.
struct Opened {
    store: Store,
    stored: Option<Issued>,
}

struct Ca {
    pem: Arc<[u8]>,
    roots: Arc<RootCertStore>,
}

impl Prepared {
    /// Where the certificate of this section will be found.
    pub fn slot(&self, asked: &Asked) -> Option<Arc<Slot>> {
        self.wanted.get(&Key::of(asked)).map(|wanted| wanted.slot.clone())
    }

    /// What proves domains, for listeners to answer.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }
}

impl Acme {
    /// Nothing is asked for yet. Tasks run on `runtime`, which is not a worker's; `challenges` are what
    /// listeners answer.
    pub fn new(runtime: Handle, challenges: Arc<Challenges>, metrics: Arc<Metrics>, pace: Pace) -> Self {
        Self {
            runtime,
            challenges,
            plaintext: Arc::default(),
            metrics,
            pace,
            provider: Arc::new(crate::tls::provider()),
            running: Mutex::default(),
        }
    }

    /// Opens the directories that a configuration names, before anything is changed. Faults are reported with
    /// the place that names the file.
    pub fn prepare(&self, config: &Config, diag: &mut Diag) -> Prepared {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        prepare(config, &self.challenges, &running, Making::Yes(&self.provider), diag)
    }

    /// Starts what a configuration adds, and ends what is no longer asked for. What is unchanged goes on.
    pub fn commit(&self, prepared: Prepared) {
        self.plaintext.store(prepared.plaintext, Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|key, _| prepared.wanted.contains_key(key));
        for (key, wanted) in prepared.wanted {
            let Some(opened) = wanted.opened else { continue };
            let ca = wanted.ca.as_ref().map(|ca| ca.pem.clone());
            let task = self.start(&key, wanted.slot.clone(), wanted.ca.map(|ca| ca.roots), opened);
            running.insert(key, Running { slot: wanted.slot, ca, _task: task });
        }
    }

    fn start(
        &self,
        key: &Key,
        slot: Arc<Slot>,
        roots: Option<Arc<RootCertStore>>,
        opened: Opened,
    ) -> AbortOnDropHandle<()> {
        let remote = Arc::new(Remote {
            directory: key.directory.clone(),
            domains: key.domains.clone(),
            email: key.email.clone(),
            roots,
            store: opened.store,
            challenges: self.challenges.clone(),
            plaintext: self.plaintext.clone(),
            provider: self.provider.clone(),
        });
        let first = key.domains.first().map(String::as_str).unwrap_or_default();
        let told = Told { outcomes: self.metrics.acme_orders(), expiry: self.metrics.acme_expiry(first) };
        let provider = self.provider.clone();
        let world = World { now: Box::new(SystemTime::now), random: Box::new(move || random(&provider)) };
        let keeper = Keeper { authority: remote, slot, pace: self.pace, told, world };
        AbortOnDropHandle::new(self.runtime.spawn(keeper.run(opened.stored)))
    }
}

/// Reads what a configuration asks for without making or ordering anything.
pub fn check(config: &Config, diag: &mut Diag) -> Prepared {
    prepare(config, &Arc::default(), &HashMap::new(), Making::No, diag)
}

/// A stored certificate, unless clients would refuse it.
fn good(stored: Option<Issued>, now: SystemTime) -> Option<Issued> {
    let stored = stored?;
    if now <= stored.valid.until {
        return Some(stored);
    }
    tracing::warn!("the certificate that is kept has expired: another one is ordered");
    None
}

/// Whether directories are made.
#[derive(Clone, Copy)]
enum Making<'a> {
    /// And what is in them is read.
    Yes(&'a CryptoProvider),
    No,
}

fn prepare(
    config: &Config,
    challenges: &Arc<Challenges>,
    running: &HashMap<Key, Running>,
    making: Making<'_>,
    diag: &mut Diag,
) -> Prepared {
    let mut wanted = HashMap::new();
    for asked in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.acme.as_ref()) {
        let key = Key::of(asked);
        if wanted.contains_key(&key) {
            continue;
        }
        let ca = asked.ca.as_ref().and_then(|ca| match roots(&ca.value) {
            Ok(ca) => Some(ca),
            Err(why) => {
                let problem = format!("{} {why}", ca.value.display());
                let help = "give the certificates of those who sign for the directory's server, in PEM";
                diag.fault(&ca.at, problem, help);
                None
            }
        });
        let there = running.get(&key);
        let is_same = there.is_some_and(|there| there.ca == ca.as_ref().map(|ca| ca.pem.clone()));
        let opened = if is_same { None } else { open(asked, making, diag) };
        let slot = there.map_or_else(|| Arc::new(Slot::new(&key.domains)), |there| there.slot.clone());
        // Who connects to a new listener finds what is kept.
        if let (None, Some(stored)) = (slot.load(), opened.as_ref().and_then(|opened| opened.stored.as_ref()))
        {
            slot.put(stored);
        }
        wanted.insert(key, Wanted { slot, ca, opened });
    }
    let plaintext = config.listeners.iter().any(|listener| listener.tls.is_none());
    Prepared { challenges: challenges.clone(), wanted, plaintext }
}

/// Opens the directory of a section; `None` where a fault was reported, or nothing may be made.
fn open(asked: &Asked, making: Making<'_>, diag: &mut Diag) -> Option<Opened> {
    let path = &asked.path;
    let opened = match making {
        Making::No => Store::probe(&path.value).map(|()| None),
        Making::Yes(provider) => Store::open(&path.value).map(|store| {
            let stored = stored(&store, &asked.directory, &asked.domains, provider);
            Some(Opened { stored: good(stored, SystemTime::now()), store })
        }),
    };
    opened.unwrap_or_else(|why| {
        let problem = format!("certificates can't be kept in {}: {why}", path.value.display());
        diag.fault(&path.at, problem, "name a directory that the gateway may make and write");
        None
    })
}

/// The authorities in a file.
fn roots(path: &Path) -> Result<Ca, String> {
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CA_BYTES_MAX + 1).read_to_end(&mut pem))
        .map_err(|error| format!("can't be read: {error}"))?;
    if pem.len() as u64 > CA_BYTES_MAX {
        return Err(format!("is over {CA_BYTES_MAX} bytes"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| "is not PEM".to_owned())?;
        roots
            .add(certificate)
            .map_err(|error| format!("has a certificate that is no authority's: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("has no certificate".into()),
        false => Ok(Ca { pem: pem.into(), roots: Arc::new(roots) }),
    }
}

/// The largest file of authorities.
const CA_BYTES_MAX: u64 = 4 << 20;
