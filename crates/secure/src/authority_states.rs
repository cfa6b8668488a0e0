//! Suspending, resuming and retiring authorities. One that signs no certificates goes on signing its CRLs and OCSP answers.

use clm_types::{ErrorCode, Refusal};
use serde_json::json;

use crate::committer::{AuthorityChange, Write};
use crate::{Secure, SecureError};

/// What an operator does with an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityAction {
    /// It signs no certificates until it is resumed.
    Suspend,
    /// It signs again.
    Resume,
    /// It signs no certificates ever again.
    Retire,
}

impl AuthorityAction {
    /// The state that `from` turns into; none when it cannot.
    fn apply(self, from: &str) -> Option<(&'static str, &'static str)> {
        match (self, from) {
            (Self::Suspend, "active") => Some(("active", "suspended")),
            (Self::Resume, "suspended") => Some(("suspended", "active")),
            (Self::Retire, "active") => Some(("active", "retired")),
            (Self::Retire, "suspended") => Some(("suspended", "retired")),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "authority.suspend",
            Self::Resume => "authority.resume",
            Self::Retire => "authority.retire",
        }
    }
}

impl Secure {
    /// Suspends, resumes or retires an authority; every process follows within seconds.
    ///
    /// # Errors
    /// `authority_not_found`, `conflict` when its state does not allow it, or trouble of ours.
    pub async fn change_authority(
        &self,
        name: &str,
        action: AuthorityAction,
        reason: &str,
        operator: &str,
    ) -> Result<(), SecureError> {
        let authority = self.authority_named(name).await?;
        let status = &authority.row.status;
        let (from, to) = action.apply(status).ok_or_else(|| {
            Refusal::new(ErrorCode::Conflict, format!("the authority `{name}` is {status}"))
        })?;
        let mut entry = self.authority_audit(
            action.as_str(),
            &authority,
            operator,
            None,
            json!({ "from": from, "to": to }),
        );
        entry.reason = Some(reason.to_owned());
        let change = AuthorityChange { authority: authority.row.id, from, to };
        self.commit(Write { authority_changes: vec![change], audit: vec![entry], ..Write::default() })
            .await?;
        self.parts.authorities.forget();
        tracing::warn!(authority = name, from, to, reason, "changed the state of an authority");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_stays_so() {
        use AuthorityAction::{Resume, Retire, Suspend};
        assert_eq!(Suspend.apply("active"), Some(("active", "suspended")));
        assert_eq!(Resume.apply("suspended"), Some(("suspended", "active")));
        assert_eq!(Retire.apply("suspended"), Some(("suspended", "retired")));
        for action in [Suspend, Resume, Retire] {
            assert_eq!(action.apply("retired"), None);
            assert_eq!(action.apply("pending"), None);
        }
        assert_eq!(Resume.apply("active"), None);
    }
}
