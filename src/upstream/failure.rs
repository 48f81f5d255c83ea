//! Why an attempt to connect failed: a word for metrics, and a sentence for the operator.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::Error;

use crate::upstream::tls::Shows;
use crate::upstream::tls::Tls;

/// A failed attempt to connect. Clients see neither of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of a few words.
    pub outcome: &'static str,
    /// What happened, and what to do where that is known.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let outcome = match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::TimedOut => "timeout",
            _ => "failed",
        };
        Self { outcome, why: error.to_string() }
    }
}

impl Failure {
    fn new(outcome: &'static str, why: impl Into<String>) -> Self {
        Self { outcome, why: why.into() }
    }

    /// `what` didn't come in `connect_timeout`.
    pub(super) fn late(what: &str, timeout: Duration) -> Self {
        Self::new("timeout", format!("no {what} in connect_timeout ({timeout:?})"))
    }

    /// The handshake is done, and HTTP/2 was not agreed on.
    pub(super) fn no_h2() -> Self {
        Self::new(
            "no_h2",
            "the server doesn't agree on HTTP/2 (ALPN `h2`): switch HTTP/2 on there, gRPC needs it",
        )
    }

    /// What TLS found at fault, in its handshake or after it.
    pub(super) fn tls(error: &Error, tls: &Tls) -> Self {
        match error {
            Error::InvalidCertificate(fault) => certificate(fault, tls),
            Error::AlertReceived(alert) => refused(*alert, tls),
            Error::NoApplicationProtocol => Self::no_h2(),
            Error::InvalidMessage(_) => {
                Self::new("not_tls", "the server doesn't speak TLS: leave `tls` out, or give its TLS port")
            }
            Error::PeerIncompatible(why) => Self::new(
                "tls_failed",
                format!("the server has no version or cipher suite of TLS 1.2 or 1.3 in common: {why:?}"),
            ),
            error => Self::new("tls_failed", format!("TLS failed: {error}")),
        }
    }

    /// The server broke off and left no word why.
    pub(super) fn broken_off(error: &io::Error, when: When, tls: &Tls) -> Self {
        match (when, tls.shows()) {
            (When::Handshake, _) => Self::new(
                "tls_failed",
                format!("the server broke off the TLS handshake ({error}): check that it speaks TLS there"),
            ),
            (When::After, Shows::Nothing) => Self::new(
                "failed",
                format!(
                    "the server broke off after the TLS handshake ({error}): where it asks for a client \
                     certificate, give one as `cert` and `key`"
                ),
            ),
            (When::After, Shows::Certificate) => Self::new(
                "failed",
                format!(
                    "the server broke off after the TLS handshake ({error}): it may not take the client \
                     certificate in `cert`"
                ),
            ),
        }
    }
}

/// How far a connection was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// TLS isn't agreed on yet.
    Handshake,
    /// It is, and nothing came of HTTP/2.
    After,
}

/// The server's certificate isn't good.
fn certificate(fault: &CertificateError, tls: &Tls) -> Failure {
    match fault {
        CertificateError::UnknownIssuer => Failure::new(
            "certificate_untrusted",
            format!(
                "the server's certificate isn't signed by {}: give the authority that signed it as `ca`, and \
                 let the server send its whole chain",
                tls.trusted()
            ),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match fault {
                CertificateError::NotValidForNameContext { expected, presented } => {
                    let shown: Vec<&str> =
                        presented.iter().take(NAMES_SHOWN).map(|name| clip(bare(name))).collect();
                    let shown = if shown.is_empty() { "no name".into() } else { shown.join(", ") };
                    format!("for {shown}, not for {}", expected.to_str())
                }
                _ => "for another name".into(),
            };
            let why = format!(
                "the server's certificate is {names}: say in `server_name` which of its names is right"
            );
            Failure::new("certificate_name", why)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Failure::new("certificate_expired", "the server's certificate has expired: renew it there")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Failure::new(
            "certificate_expired",
            "the server's certificate is not valid yet: compare the clocks of both machines",
        ),
        // Of an error of the verifier below, only its words are to be had.
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => Failure::new(
            "certificate_invalid",
            "the server shows an authority's certificate as its own: have the authority sign one for the \
             server, which says `CA:FALSE`",
        ),
        fault => Failure::new("certificate_invalid", format!("the server's certificate isn't good: {fault}")),
    }
}

/// The server ended TLS and said why.
fn refused(alert: AlertDescription, tls: &Tls) -> Failure {
    use AlertDescription as Alert;
    match (alert, tls.shows()) {
        (Alert::NoApplicationProtocol, _) => Failure::no_h2(),
        (Alert::UnrecognisedName, _) => Failure::new(
            "certificate_name",
            "the server serves no such name: say in `server_name` which of its names is right",
        ),
        (Alert::ProtocolVersion | Alert::InsufficientSecurity, _) => Failure::new(
            "tls_failed",
            format!("the server speaks neither TLS 1.3 nor 1.2 as the gateway does ({alert:?}): update it"),
        ),
        (Alert::CertificateRequired, _) => Failure::new(
            "client_certificate",
            "the server asks for a client certificate: give one as `cert` and `key`",
        ),
        (
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
            Shows::Certificate,
        ) => Failure::new(
            "client_certificate",
            format!(
                "the server refuses the gateway's certificate ({alert:?}): give one as `cert` that it trusts"
            ),
        ),
        (_, Shows::Nothing) => Failure::new(
            "tls_failed",
            format!(
                "the server refuses the TLS handshake ({alert:?}): where it asks for a client certificate, \
                 give one as `cert` and `key`"
            ),
        ),
        (_, Shows::Certificate) => {
            Failure::new("tls_failed", format!("the server refuses the TLS handshake ({alert:?})"))
        }
    }
}

/// A name alone, of `DnsName("pets.internal")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

/// A name that a server claims, short enough for a log.
fn clip(name: &str) -> &str {
    let end = (0..=NAME_BYTES_SHOWN.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    &name[..end.unwrap_or_default()]
}

const NAMES_SHOWN: usize = 5;
const NAME_BYTES_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_bare_and_short() {
        assert_eq!(clip("short.test"), "short.test");
        assert_eq!(bare("DnsName(\"*.pets.internal\")"), "*.pets.internal");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("("), "(");
        let long = "ä".repeat(80);
        assert_eq!(clip(&long), "ä".repeat(50));
    }
}
