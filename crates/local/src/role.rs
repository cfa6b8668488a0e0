//! The two databases and the roles that log in to them.

/// One of the product's two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// `clm_core_db`.
    Core,
    /// `clm_secure_db`.
    Secure,
}

impl Database {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Core, Self::Secure];

    /// The word in paths and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Secure => "secure",
        }
    }

    /// The database's name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "clm_core_db",
            Self::Secure => "clm_secure_db",
        }
    }

    /// The roles that may log in. The owner of the tables is not among them.
    pub fn login_roles(self) -> &'static [&'static str] {
        match self {
            Self::Core => &[
                "clm_core_app",
                "clm_core_system",
                "clm_core_migrator",
                "clm_core_ro",
                "clm_core_backup",
                "clm_core_monitor",
            ],
            Self::Secure => &[
                "clm_secure_app",
                "clm_secure_migrator",
                "clm_secure_ro",
                "clm_secure_auditor",
                "clm_secure_backup",
                "clm_secure_monitor",
            ],
        }
    }

    /// The read-only role, for people who look.
    pub fn read_only_role(self) -> &'static str {
        match self {
            Self::Core => "clm_core_ro",
            Self::Secure => "clm_secure_ro",
        }
    }

    /// What a superuser runs once in the new database.
    pub(crate) fn provision_script(self) -> &'static str {
        match self {
            Self::Core => include_str!("../../../deploy/sql/core-provision.sql"),
            Self::Secure => include_str!("../../../deploy/sql/secure-provision.sql"),
        }
    }
}

/// The common name of the certificate that `role` logs in with: short, and without the product's
/// prefix, as `core-app` for `clm_core_app`.
pub(crate) fn certificate_name(role: &str) -> String {
    role.trim_start_matches("clm_").replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_names_are_short_and_tell_the_databases_apart() {
        assert_eq!(certificate_name("clm_core_app"), "core-app");
        assert_eq!(certificate_name("clm_secure_migrator"), "secure-migrator");
    }
}
