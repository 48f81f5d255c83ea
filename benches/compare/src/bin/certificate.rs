//! Makes the certificate that every gateway shows: P-256, self-signed, for localhost.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Where to write the certificate, in PEM.
    certificate: PathBuf,
    /// Where to write its key, in PEM.
    key: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])?.self_signed(&key)?;
    fs::write(args.certificate, certificate.pem())?;
    fs::write(args.key, key.serialize_pem())?;
    Ok(())
}
