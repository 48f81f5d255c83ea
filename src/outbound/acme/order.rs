//! One order at an authority, from the account to the certificate (RFC 8555, section 7).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use instant_acme::Account;
use instant_acme::AccountCredentials;
use instant_acme::AuthorizationHandle;
use instant_acme::AuthorizationStatus;
use instant_acme::ChallengeType;
use instant_acme::Error;
use instant_acme::Identifier;
use instant_acme::NewAccount;
use instant_acme::NewOrder;
use instant_acme::Order;
use instant_acme::OrderStatus;
use instant_acme::RetryPolicy;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;

use crate::outbound::acme::certificate::Issued;
use crate::outbound::acme::challenges::Answering;
use crate::outbound::acme::challenges::Challenges;
use crate::outbound::acme::client::Again;
use crate::outbound::acme::client::Client;
use crate::outbound::acme::client::plain;
use crate::outbound::acme::client::told;
use crate::outbound::acme::keep::Authority;
use crate::outbound::acme::keep::Failure;
use crate::outbound::acme::keep::Way;
use crate::outbound::acme::store::Store;
use crate::outbound::acme::store::account_name;
use crate::outbound::acme::store::certificate_name;

/// An authority, and what is asked of it.
pub(super) struct Remote {
    pub(super) directory: String,
    pub(super) domains: Vec<String>,
    pub(super) email: Option<String>,
    /// Who signs for the directory's server; `None` are the authorities that the system trusts.
    pub(super) roots: Option<Arc<RootCertStore>>,
    pub(super) store: Store,
    pub(super) challenges: Arc<Challenges>,
    /// Whether some listener speaks HTTP in the clear.
    pub(super) plaintext: Arc<AtomicBool>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Authority for Remote {
    async fn order(self: Arc<Self>, way: Way) -> Result<Issued, Failure> {
        let again = Again::default();
        // The library takes some of what an authority says for granted; a panic there is an answer that can't
        // be used, not the end of renewal.
        let attempt = AssertUnwindSafe(self.attempt(way, again.clone())).catch_unwind();
        let outcome = match tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::new("invalid", "its answers are not ACME")),
            Err(_) => Err(Failure::new("timeout", format!("the order was not done in {ATTEMPT_TIMEOUT:?}"))),
        };
        outcome.map_err(|failure| Failure { retry_after: again.load(), ..failure })
    }

    fn stored(&self) -> Option<Issued> {
        stored(&self.store, &self.directory, &self.domains, &self.provider)
    }
}

impl Remote {
    async fn attempt(&self, way: Way, again: Again) -> Result<Issued, Failure> {
        let identifiers: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let wanted = NewOrder::new(&identifiers);
        let mut order = match self.account(&again).await?.new_order(&wanted).await {
            Err(error) if is_of(&error, "accountDoesNotExist") => {
                tracing::warn!(
                    directory = self.directory,
                    "the authority has forgotten the account: it gets a new one"
                );
                self.store.remove(&self.account_file()).map_err(|error| Failure::of_store(&error))?;
                self.account(&again).await?.new_order(&wanted).await
            }
            placed => placed,
        }
        .map_err(|error| failure(&error))?;
        let answering = self.prove(&mut order, way).await?;
        let ready = order.poll_ready(&POLL).await;
        // The challenges may be asked for until the authority has made up its mind.
        drop(answering);
        match ready {
            Ok(OrderStatus::Ready) => {}
            Err(error @ (Error::Timeout(_) | Error::Other(_))) => return Err(failure(&error)),
            ended => return Err(why_not(&mut order, ended.err()).await),
        }
        let (key, request) = self.request()?;
        order.finalize_csr(&request).await.map_err(|error| failure(&error))?;
        let chain = order.poll_certificate(&POLL).await.map_err(|error| failure(&error))?;
        let pem = format!("{}\n{}", chain.trim_end(), key.serialize_pem());
        let issued = Issued::read(pem.as_bytes(), &self.domains, &self.provider).map_err(|why| {
            Failure::new("invalid", format!("the certificate that it issued is not good: {why}"))
        })?;
        let (store, name) = (self.store.clone(), certificate_name(&self.directory, &self.domains));
        // A certificate that can't be kept serves all the same: the next start orders another one.
        let kept = tokio::task::spawn_blocking(move || store.write(&name, pem.as_bytes()));
        if let Ok(Err(error)) = kept.await {
            tracing::error!("the certificate can't be kept for the next start: {error}");
        }
        Ok(issued)
    }

    /// The account that is kept, or a new one.
    async fn account(&self, again: &Again) -> Result<Account, Failure> {
        let client = || {
            Client::new(self.roots.clone(), self.provider.clone(), again.clone())
                .map(|client| Account::builder_with_http(Box::new(client)))
                .map_err(|error| Failure::new("unreachable", told(&error)))
        };
        let name = self.account_file();
        let kept = self.store.read(&name).map_err(|error| Failure::of_store(&error))?;
        match kept.map(|kept| serde_json::from_slice::<AccountCredentials>(&kept)) {
            Some(Ok(kept)) => match client()?.from_credentials(kept).await {
                Err(Error::KeyRejected) => {
                    tracing::warn!("{} has no good key: the account is made anew", self.store.shown(&name));
                }
                account => return account.map_err(|error| failure(&error)),
            },
            Some(Err(_)) => {
                tracing::warn!("{} is broken: the account is made anew", self.store.shown(&name));
            }
            None => {}
        }
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let created = client()?.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = created.map_err(|error| failure(&error))?;
        let bytes =
            serde_json::to_vec(&credentials).map_err(|error| Failure::new("invalid", error.to_string()))?;
        self.store.write(&name, &bytes).map_err(|error| Failure::of_store(&error))?;
        Ok(account)
    }

    fn account_file(&self) -> String {
        account_name(&self.directory, self.email.as_deref())
    }

    /// Answers a challenge of each domain that isn't proven yet.
    async fn prove(&self, order: &mut Order, way: Way) -> Result<Vec<Answering>, Failure> {
        let mut answering = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| failure(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => answering.push(self.answer(authorization, way).await?),
                // The order says why.
                _ => {}
            }
        }
        Ok(answering)
    }

    async fn answer(
        &self,
        mut authorization: AuthorizationHandle<'_>,
        way: Way,
    ) -> Result<Answering, Failure> {
        let offers = |way: Way| {
            let kind = kind(way);
            authorization.challenges.iter().any(|challenge| challenge.r#type == kind)
        };
        let plaintext = self.plaintext.load(Ordering::Relaxed);
        let may = |way: &Way| offers(*way) && (*way == Way::TlsAlpn || plaintext);
        let domain = authorization.identifier().to_string();
        let none = || {
            let why = format!("it offers no challenge for {} that can be answered here", plain(&domain));
            Failure::new("challenge_failed", why)
        };
        let way = [way, way.other()].into_iter().find(may).ok_or_else(none)?;
        // An authority that asks about another domain gets no proof of it.
        if !self.domains.iter().any(|own| own.eq_ignore_ascii_case(&domain)) {
            return Err(Failure::new("invalid", format!("it asks about {}", plain(&domain))));
        }
        let mut challenge = authorization.challenge(kind(way)).ok_or_else(none)?;
        let proof = challenge.key_authorization();
        let answering = match way {
            Way::Http => {
                let answering = self.challenges.answer_http(&challenge.token, proof.as_str());
                answering.map_err(|why| Failure::new("invalid", why))?
            }
            Way::TlsAlpn => {
                let digest = proof.digest().as_ref().try_into();
                let digest: [u8; 32] =
                    digest.map_err(|_| Failure::new("invalid", "a digest has 32 bytes"))?;
                let answering =
                    self.challenges.answer_tls(&domain.to_ascii_lowercase(), &digest, &self.provider);
                answering.map_err(|why| Failure::new("invalid", why))?
            }
        };
        challenge.set_ready().await.map_err(|error| failure(&error))?;
        Ok(answering)
    }

    /// A new key, and the request for its certificate in DER.
    fn request(&self) -> Result<(KeyPair, Vec<u8>), Failure> {
        let made = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(self.domains.clone())?;
            params.distinguished_name = DistinguishedName::new();
            let request = params.serialize_request(&key)?;
            Ok((key, request.der().to_vec()))
        };
        made().map_err(|error: rcgen::Error| {
            Failure::new("invalid", format!("no certificate can be asked for: {error}"))
        })
    }
}

/// The certificate that is kept of what a directory issued for these domains.
pub(super) fn stored(
    store: &Store,
    directory: &str,
    domains: &[String],
    provider: &CryptoProvider,
) -> Option<Issued> {
    let name = certificate_name(directory, domains);
    let pem = match store.read(&name) {
        Ok(pem) => pem?,
        Err(error) => {
            tracing::warn!("{} can't be read, another certificate is ordered: {error}", store.shown(&name));
            return None;
        }
    };
    match Issued::read(&pem, domains, provider) {
        Ok(issued) => Some(issued),
        Err(why) => {
            tracing::warn!("{} is broken, another certificate is ordered: {why}", store.shown(&name));
            None
        }
    }
}

/// Why an order didn't become ready, in the words of its challenges.
async fn why_not(order: &mut Order, error: Option<Error>) -> Failure {
    let mut why = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What was learnt before the challenges were answered is old.
        if authorization.refresh().await.is_err() || authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string();
        for challenge in &authorization.challenges {
            if let Some(problem) = &challenge.error {
                why.push(format!("{domain} by {}: {problem}", name(&challenge.r#type)));
            }
        }
    }
    if let (true, Some(error)) = (why.is_empty(), error) {
        return failure(&error);
    }
    let why = if why.is_empty() { "it doesn't say why".to_owned() } else { why.join("; ") };
    Failure::new("challenge_failed", plain(&why))
}

fn kind(way: Way) -> ChallengeType {
    match way {
        Way::TlsAlpn => ChallengeType::TlsAlpn01,
        Way::Http => ChallengeType::Http01,
    }
}

fn name(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Http01 => "http-01",
        _ => "another challenge",
    }
}

fn is_of(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else { return false };
    let named = problem.r#type.as_deref().and_then(|name| name.strip_prefix("urn:ietf:params:acme:error:"));
    named == Some(kind)
}

fn failure(error: &Error) -> Failure {
    let outcome = match error {
        Error::Api(_) if is_of(error, "rateLimited") => "rate_limited",
        Error::Api(_) => "refused",
        Error::Timeout(_) => "timeout",
        Error::Json(_) | Error::Str(_) | Error::InvalidUri(_) | Error::Http(_) => "invalid",
        _ => "unreachable",
    };
    Failure::new(outcome, told(error))
}

/// How an order is watched: authorities look from several places, which may take a while.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));
/// For one whole order.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);
