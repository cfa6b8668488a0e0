//! Certificates and revocation lists of another program, for imports.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

/// Another certificate authority: `openssl ca` in a folder.
pub struct OldAuthority {
    /// Its files: `ca.pem`, `ca.key`, `newcerts/` and what openssl needs.
    pub folder: PathBuf,
}

const ENVELOPE: &str = r#"
profiles = ["tls-server"]
key_algorithms = ["ecdsa-p256"]
max_validity_seconds = 34387200
"#;

const CONFIG: &str = "
[ca]
default_ca = old
[old]
dir = .
database = index.txt
new_certs_dir = newcerts
serial = serial
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
default_md = sha384
default_days = 90
default_crl_days = 30
policy = anything
unique_subject = no
copy_extensions = copy
x509_extensions = leaf
crl_extensions = list
[anything]
commonName = supplied
organizationName = optional
[leaf]
basicConstraints = critical,CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:http://old.example.com/ca.crl
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[list]
authorityKeyIdentifier = keyid
";

impl OldAuthority {
    /// A root on P-256 that signs with SHA-384, from serial number 1000 and list number 20 (hexadecimal) on.
    pub fn root(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        std::fs::create_dir_all(folder.join("newcerts")).expect("a folder");
        let old = Self { folder };
        for (file, text) in [("index.txt", ""), ("serial", "1000"), ("crlnumber", "20"), ("ca.cnf", CONFIG)] {
            std::fs::write(old.folder.join(file), text).expect("a file");
        }
        old.key("ca.key");
        old.openssl(&format!(
            "req -x509 -new -sha384 -key ca.key -subj /O=Old/CN={name} -days 900 -config ca.cnf -extensions authority -out ca.pem"
        ));
        old
    }

    /// An authority below this one, made into one of its own folder.
    pub fn below(&self, parent: &Path, name: &str) -> Self {
        let below = Self::root(parent, name);
        below.openssl(&format!("req -new -key ca.key -subj /O=Old/CN={name} -out ca.csr"));
        let csr = below.folder.join("ca.csr");
        self.openssl(&format!(
            "ca -batch -config ca.cnf -extensions authority -days 800 -in {} -out below.pem",
            csr.display()
        ));
        std::fs::copy(self.folder.join("below.pem"), below.folder.join("ca.pem")).expect("a file");
        below
    }

    fn key(&self, file: &str) {
        self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {file}"));
    }

    /// Runs openssl in its folder: what it printed.
    pub fn openssl(&self, words: &str) -> String {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(&self.folder)
            .output()
            .expect("openssl runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words}: {text}");
        text
    }

    /// A certificate of a new key; gives its file.
    pub fn issue(&self, name: &str) -> PathBuf {
        self.issue_with(name, "")
    }

    /// The same, with more alternative names.
    pub fn issue_with(&self, name: &str, more: &str) -> PathBuf {
        self.key("leaf.key");
        self.openssl(&format!(
            "req -new -key leaf.key -subj /CN={name} -addext subjectAltName=DNS:{name}{more} -out leaf.csr"
        ));
        self.openssl(&format!("ca -batch -config ca.cnf -in leaf.csr -out {name}.pem"));
        self.folder.join(format!("{name}.pem"))
    }

    /// Revokes a certificate.
    pub fn revoke(&self, file: &Path, reason: &str) {
        self.openssl(&format!("ca -batch -config ca.cnf -revoke {} -crl_reason {reason}", file.display()));
    }

    /// Its own certificate, DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.read_certificate("ca.pem")
    }

    /// The certificate of a file, DER.
    pub fn read_certificate(&self, file: impl AsRef<Path>) -> Vec<u8> {
        let file = self.folder.join(file);
        CertificateDer::from_pem_file(&file).unwrap_or_else(|_| panic!("{}", file.display())).to_vec()
    }

    /// The revocation list of a file, DER.
    pub fn read_crl(&self, file: &str) -> Vec<u8> {
        CertificateRevocationListDer::from_pem_file(self.folder.join(file)).expect("a list").to_vec()
    }

    /// A new revocation list, DER; `ca.crl` is the same.
    pub fn crl(&self) -> Vec<u8> {
        self.openssl("ca -gencrl -config ca.cnf -out ca.crl");
        self.read_crl("ca.crl")
    }

    /// The arguments of `clm-secure` that import it with everything it has. The service's user may read the files.
    pub fn import_arguments(
        &self,
        name: &str,
        organization: &str,
        owner: &str,
        base_url: &str,
    ) -> Vec<String> {
        self.crl();
        self.openssl("pkcs8 -topk8 -nocrypt -in ca.key -out ca.p8");
        let readable = Permissions::from_mode(0o644);
        std::fs::set_permissions(self.folder.join("ca.p8"), readable).expect("the key's file");
        std::fs::write(self.folder.join("envelope.toml"), ENVELOPE).expect("a file");
        let path = |file: &str| self.folder.join(file).display().to_string();
        let command = ["authority", "import", "--name", name, "--base-url", base_url].map(str::to_owned);
        let owner = ["--organization", organization, "--owner", owner].map(str::to_owned);
        let files = [
            ("--certificate", "ca.pem"),
            ("--key", "ca.p8"),
            ("--crl", "ca.crl"),
            ("--issued", "newcerts"),
            ("--envelope", "envelope.toml"),
        ];
        let files = files.into_iter().flat_map(|(option, file)| [option.to_owned(), path(file)]);
        command.into_iter().chain(owner).chain(files).collect()
    }
}
