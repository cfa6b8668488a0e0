//! Signing requests, made before the load so that making them costs nothing during it.

use std::thread;

use anyhow::{Result, anyhow};
use clm_api::requests::NewRequest;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::tenant::{DOMAIN, POLICY, PROFILE};

/// Bodies of `count` requests for certificates, each with a P-256 key and a name of its own.
pub(crate) fn request_bodies(count: u64) -> Result<Vec<Vec<u8>>> {
    let threads = u64::try_from(thread::available_parallelism()?.get())?;
    thread::scope(|scope| {
        let part = |thread| move || (thread..count).step_by(stride(threads)).map(request_body).collect();
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        let mut bodies = Vec::new();
        for part in parts {
            let made: Result<Vec<_>> = part.join().map_err(|_| anyhow!("making requests panicked"))?;
            bodies.append(&mut made?);
        }
        Ok(bodies)
    })
}

fn stride(threads: u64) -> usize {
    usize::try_from(threads).unwrap_or(1)
}

fn request_body(number: u64) -> Result<Vec<u8>> {
    let request = NewRequest {
        policy: Some(POLICY.to_owned()),
        profile: PROFILE.to_owned(),
        csr_pem: Some(csr_pem(&format!("host-{number}.{DOMAIN}"))?),
        ..NewRequest::default()
    };
    Ok(serde_json::to_vec(&request)?)
}

fn csr_pem(name: &str) -> Result<String> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.serialize_request(&KeyPair::generate()?)?.pem()?)
}
