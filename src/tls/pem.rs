//! Reads certificates and keys from PEM, with a sentence for each thing that can be wrong.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;

/// What is wrong with a file, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub problem: String,
    /// The way out.
    pub help: &'static str,
}

fn wrong<T>(problem: impl Into<String>, help: &'static str) -> Result<T, Wrong> {
    Err(Wrong { problem: problem.into(), help })
}

/// Reads a whole file, which is small.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Vec<u8>, Wrong> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 > FILE_BYTES_MAX => {
            wrong(format!("{shown} is over {FILE_BYTES_MAX} bytes"), "give a file in PEM")
        }
        Ok(_) => Ok(bytes),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".into(),
                io::ErrorKind::PermissionDenied => "the gateway may not read it".into(),
                _ => error.to_string(),
            };
            wrong(format!("{shown} can't be read: {why}"), "relative paths start at the configuration file")
        }
    }
}

/// The certificates of a file, at least one.
///
/// # Errors
/// What is wrong with it.
pub fn certificates(pem: &[u8], shown: &str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let mut all = Vec::new();
    for item in CertificateDer::pem_slice_iter(pem) {
        match item {
            Ok(certificate) => all.push(certificate),
            Err(error) => return wrong(format!("{shown} is not PEM: {}", told(&error)), SHAPE),
        }
        if all.len() > CERTIFICATES_MAX {
            return wrong(format!("{shown} has over {CERTIFICATES_MAX} certificates"), "split it");
        }
    }
    if !all.is_empty() {
        return Ok(all);
    }
    let help = match has(pem, "PRIVATE KEY-----") {
        true => "it has a private key: write it as `key`, and the certificate as `cert`",
        false => SHAPE,
    };
    wrong(format!("{shown} has no certificate"), help)
}

/// The private key of a file.
///
/// # Errors
/// What is wrong with it.
pub fn key(pem: &[u8], shown: &str) -> Result<PrivateKeyDer<'static>, Wrong> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(_) if has(pem, "BEGIN ENCRYPTED PRIVATE KEY") || has(pem, "Proc-Type: 4,ENCRYPTED") => wrong(
            format!("the private key in {shown} is encrypted"),
            "write it without a passphrase: `openssl pkey -in key.pem -out plain.pem`",
        ),
        Err(pem::Error::NoItemsFound) => {
            let help = match has(pem, "BEGIN CERTIFICATE-----") {
                true => "it has a certificate: write it as `cert`, and the private key as `key`",
                false => "a key in PEM begins with `-----BEGIN PRIVATE KEY-----`",
            };
            wrong(format!("{shown} has no private key"), help)
        }
        Err(error) => wrong(
            format!("{shown} is not PEM: {}", told(&error)),
            "a key in PEM begins with `-----BEGIN PRIVATE KEY-----`",
        ),
    }
}

/// What the parser says against a file, without its bytes: they may be a secret.
pub fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block begins in no known way",
        pem::Error::Base64Decode(_) => "a block is not base64",
        _ => "it can't be read",
    }
}

fn has(pem: &[u8], text: &str) -> bool {
    memchr::memmem::find(pem, text.as_bytes()).is_some()
}

const SHAPE: &str = "a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Certificates of one file: authorities may be many.
const CERTIFICATES_MAX: usize = 1000;
