//! openssl as a person would use it.

use std::path::Path;
use std::process::Command;

/// What a command printed, both streams; it must succeed.
#[track_caller]
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let (done, printed) = try_openssl(folder, arguments);
    assert!(done, "openssl {arguments:?}: {printed}");
    printed
}

/// Whether a command succeeded, and what it printed.
pub(crate) fn try_openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

/// The words after `algorithm` in `openssl genpkey` for this name of ours.
pub(crate) fn key_arguments(algorithm: &str) -> Vec<&str> {
    match algorithm {
        "ecdsa-p256" => vec!["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "ecdsa-p384" => vec!["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "rsa-2048" => vec!["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "rsa-3072" => vec!["RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
        "rsa-4096" => vec!["RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
        "ed25519" => vec!["ED25519"],
        other => panic!("openssl makes no {other} keys"),
    }
}

/// Makes `<algorithm>.key` in the folder unless it is there: the file's name.
pub(crate) fn key(folder: &Path, algorithm: &str) -> String {
    let file = format!("{algorithm}.key");
    if !folder.join(&file).exists() {
        let arguments = [&["genpkey", "-out", &file, "-algorithm"], &key_arguments(algorithm)[..]].concat();
        openssl(folder, &arguments);
    }
    file
}

/// A request with this key, subject and extensions, PEM.
#[track_caller]
pub(crate) fn request(folder: &Path, key: &str, subject: &str, extensions: &[&str]) -> String {
    let mut arguments = vec!["req", "-new", "-utf8", "-key", key, "-subj", subject];
    for extension in extensions {
        arguments.extend(["-addext", extension]);
    }
    openssl(folder, &arguments)
}

/// A P-256 request for one DNS name, PEM.
pub(crate) fn request_for(folder: &Path, name: &str) -> String {
    let key = key(folder, "ecdsa-p256");
    request(folder, &key, &format!("/CN={name}"), &[&format!("subjectAltName=DNS:{name}")])
}

/// Splits a chain: the leaf as `leaf.pem`, the issuers as `issuers.pem`, the first of them as `issuer.pem`.
pub(crate) fn write_chain(folder: &Path, chain: &str) {
    const END: &str = "-----END CERTIFICATE-----\n";
    let (leaf, issuers) = chain.split_once(END).unwrap();
    let (issuer, _) = issuers.split_once(END).unwrap();
    std::fs::write(folder.join("leaf.pem"), format!("{leaf}{END}")).unwrap();
    std::fs::write(folder.join("issuers.pem"), issuers).unwrap();
    std::fs::write(folder.join("issuer.pem"), format!("{issuer}{END}")).unwrap();
}
