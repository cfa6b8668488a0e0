//! `clm-core check-config`: every file that the configuration names, read as it will be read.

use std::path::Path;

use anyhow::Context;
use clm_core::passwords::PasswordCost;
use clm_pg::PgConfig;

use crate::config::Config;
use crate::identity_providers;

pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let api = &config.api;
    clm_service::public_server(&api.cert_file, &api.key_file).context("[api]")?;
    check_database(&config.database).context("[database]")?;
    check_database(&config.system_database).context("[system_database]")?;
    let rpc = config.rpc.files();
    check_files(&rpc.ca_file, &rpc.cert_file, &rpc.key_file).context("[rpc]")?;
    config.sign_in.parts(&config.api.public_url, PasswordCost::LEAST).context("[sign_in]")?;
    identity_providers::open_all(&config.identity_providers).context("[[identity_providers]]")?;
    config.open_mail()?;
    config.limits.limits().context("[limits]")?;
    eprintln!("the configuration is complete and readable");
    Ok(())
}

fn check_database(config: &PgConfig) -> anyhow::Result<()> {
    check_files(&config.ca_file, &config.cert_file, &config.key_file)
}

/// An authority, and a certificate with the key that belongs to it.
fn check_files(ca_file: &Path, cert_file: &Path, key_file: &Path) -> anyhow::Result<()> {
    clm_service::public_client(ca_file)?;
    clm_service::public_server(cert_file, key_file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn files_that_are_missing_or_do_not_belong_together_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let certificate = write("certificate.pem", certificate.pem());
        let key = write("key.pem", key.serialize_pem());
        let other = write("other.pem", other.serialize_pem());
        let missing = folder.path().join("missing.pem");
        check_files(&certificate, &certificate, &key).unwrap();
        for (ca, certificate, key) in [
            (&missing, &certificate, &key),
            (&certificate, &missing, &key),
            (&certificate, &certificate, &missing),
            (&certificate, &certificate, &other),
            (&key, &certificate, &key),
        ] {
            assert!(check_files(ca, certificate, key).is_err());
        }
        let error = check_files(&missing, &certificate, &key).unwrap_err();
        assert!(format!("{error:#}").contains("missing.pem"));
    }
}
