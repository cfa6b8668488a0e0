//! Every named failpoint of both services, and where it is hit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What runs into a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Core,
    Secure,
    /// `clm-secure authority create`.
    Ceremony,
    /// Secure, while an authority has no responder yet.
    Responder,
    /// `clm-secure authority import`.
    Import,
    /// `clm-secure authority renew`.
    Renewal,
    /// `clm-secure keys rotate`.
    Rotation,
    /// `clm-secure master rotate`.
    MasterRotation,
}

/// A failpoint, and how many hits it lets pass so that the process dies in the midst of other work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failpoint {
    pub(crate) name: &'static str,
    pub(crate) victim: Victim,
    passes: u32,
}

impl Failpoint {
    /// As `CLM_FAILPOINTS` wants it.
    pub(crate) fn setting(&self) -> String {
        format!("{}={}*off->abort", self.name, self.passes)
    }
}

const fn core(name: &'static str, passes: u32) -> Failpoint {
    Failpoint { name, victim: Victim::Core, passes }
}

const fn secure(name: &'static str, passes: u32) -> Failpoint {
    Failpoint { name, victim: Victim::Secure, passes }
}

/// All of them, a saga after the other.
pub(crate) const ALL: &[Failpoint] = &[
    core("core_request_before_intent", 4),
    core("core_request_after_intent", 4),
    core("core_submit_before_secure", 1),
    core("core_submit_after_secure", 1),
    secure("secure_request_after_store", 1),
    core("core_decide_after_commit", 1),
    core("core_reject_before_secure", 0),
    core("core_reject_after_secure", 0),
    core("core_issue_before_secure", 3),
    secure("secure_issue_after_intent", 3),
    secure("secure_issue_after_sign", 3),
    secure("secure_issue_after_store", 3),
    core("core_issue_after_secure", 3),
    core("core_issue_after_apply", 3),
    core("core_revoke_before_secure", 1),
    secure("secure_revoke_before_store", 1),
    secure("secure_revoke_after_store", 1),
    core("core_revoke_after_secure", 1),
    core("core_revoke_after_apply", 1),
    core("core_mass_revocation_before_secure", 0),
    secure("secure_revoke_batch_before_store", 0),
    secure("secure_revoke_batch_after_store", 0),
    core("core_mass_revocation_after_secure", 0),
    core("core_mass_revocation_after_apply", 0),
    core("core_owner_after_commit", 1),
    core("core_owner_before_secure", 1),
    secure("secure_owner_before_store", 1),
    secure("secure_owner_after_store", 1),
    core("core_owner_after_secure", 1),
    secure("secure_before_commit", 9),
    secure("secure_after_commit", 9),
    secure("secure_crl_after_intent", 0),
    secure("secure_crl_before_publish", 0),
    Failpoint { name: "secure_responder_after_intent", victim: Victim::Responder, passes: 0 },
    core("core_export_before_secure", 0),
    core("core_export_after_secure", 0),
    core("core_export_after_apply", 0),
    core("core_follower_before_commit", 1),
    core("core_follower_after_commit", 1),
    Failpoint { name: "secure_ceremony_after_intent", victim: Victim::Ceremony, passes: 0 },
    Failpoint { name: "secure_import_after_begin", victim: Victim::Import, passes: 0 },
    Failpoint { name: "secure_import_after_batch", victim: Victim::Import, passes: 0 },
    Failpoint { name: "secure_authority_certificate_after_intent", victim: Victim::Renewal, passes: 0 },
    Failpoint { name: "secure_rotation_after_make", victim: Victim::Rotation, passes: 0 },
    Failpoint { name: "secure_rotation_after_activate", victim: Victim::Rotation, passes: 1 },
    Failpoint { name: "secure_rotation_after_batch", victim: Victim::Rotation, passes: 1 },
    Failpoint { name: "secure_master_rotation_after_batch", victim: Victim::MasterRotation, passes: 0 },
];

#[test]
fn every_failpoint_in_the_source_is_tested() {
    let mut written = BTreeSet::new();
    for folder in ["core", "secure"] {
        for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src")) {
            let text = std::fs::read_to_string(file).unwrap();
            let names = text.split("fail_point!(\"").skip(1);
            written.extend(names.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    let tested: BTreeSet<_> = ALL.iter().map(|point| point.name.to_owned()).collect();
    assert_eq!(written, tested);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}
