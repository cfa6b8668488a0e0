//! The end of an import: the authority gets its certificate and its key, and serves.

use clm_secure_db::authorities::ActivationRow;
use clm_secure_db::certificates::CertificateRow;
use clm_secure_db::private_keys::{ImportedKeyRow, TokenKeyRow};
use clm_types::{CertificateCategory, ErrorCode, Refusal};
use serde_json::json;
use uuid::Uuid;

use super::rows::certificate_operation;
use super::{Import, ImportOutcome, MOST_ATTEMPTS};
use crate::authorities::Authority;
use crate::committer::{AuthorityRenewal, Write};
use crate::custody::Purpose;
use crate::signing_keys::SigningKey;
use crate::{Secure, SecureError};

impl Secure {
    /// Gives the authority its certificate and key and makes it active, once everything else is here.
    pub(super) async fn activate_import(
        &self,
        import: &Import<'_>,
        outcome: &ImportOutcome,
    ) -> Result<(), SecureError> {
        let mut attempts = 1;
        loop {
            let write = self.activation(import, outcome).await?;
            match self.commit(write).await {
                // The encryption key was rotated between wrapping and commit: the next one is known now.
                Err(error) if error.is_conflict() && attempts < MOST_ATTEMPTS => {
                    self.parts.custody.forget_active();
                    attempts += 1;
                }
                done => return done,
            }
        }
    }

    async fn activation(&self, import: &Import<'_>, outcome: &ImportOutcome) -> Result<Write, SecureError> {
        let checked = import.checked;
        let fingerprint = checked.certificate.fingerprint().to_vec();
        let known = self.list_known(import, std::slice::from_ref(&fingerprint), &[]).await?.pop();
        let (certificate_id, new) = if let Some(known) = known {
            (known.certificate_id, None)
        } else {
            let new = self.authority_row(import);
            (new.certificate_id, Some(new))
        };
        let (private_key_id, mut write) = self.key_write(import, certificate_id).await?;
        write.imported_certificates.extend(new);
        write.activations.push(ActivationRow {
            authority_id: import.authority_id.into(),
            certificate_id,
            private_key_id,
            subject_key_id: checked.issuer.key_identifier().to_vec(),
        });
        write.continued_crls.extend(import.continued_crls());
        let detail = json!({
            "import": checked.summary(), "certificates": outcome.certificates, "revoked": outcome.revoked,
            "revoked_alone": outcome.revoked_alone,
        });
        write.audit.push(import.audit(
            "authority.import",
            ("authority", import.authority_id.into()),
            None,
            detail,
        ));
        Ok(write)
    }

    /// Lets the lists of an authority that is here go on from a newer one, and gives it the certificate that was brought, if
    /// that is a newer one of its key.
    pub(super) async fn renew_import(&self, import: &Import<'_>) -> Result<(), SecureError> {
        let authority = self.authority(import.authority_id).await?;
        let continued_crls = import.continued_crls().into_iter().collect();
        let mut write = Write { continued_crls, ..Write::default() };
        if import.checked.certificate.not_after > authority.row.not_after {
            self.renew_into(import, &authority, &mut write).await?;
        }
        self.commit(write).await?;
        self.parts.authorities.forget();
        Ok(())
    }

    async fn renew_into(
        &self,
        import: &Import<'_>,
        authority: &Authority,
        write: &mut Write,
    ) -> Result<(), SecureError> {
        authority.require_active()?;
        let checked = import.checked;
        let parent = checked.parent.as_ref().map(|parent| parent.row.id);
        // An issuer that was elsewhere may be here now.
        if authority.row.parent_authority_id.is_some_and(|before| parent != Some(before)) {
            let detail =
                "the new certificate is by another authority of this installation than the one before";
            return Err(Refusal::new(ErrorCode::Conflict, detail).into());
        }
        let fingerprint = checked.certificate.fingerprint().to_vec();
        let known = self.list_known(import, &[fingerprint], &[]).await?.pop();
        let operation_id = certificate_operation(import, &checked.certificate).into();
        let (certificate_id, new) = if let Some(known) = known {
            (known.certificate_id, None)
        } else {
            let new = CertificateRow { operation_id, ..self.authority_row(import) };
            (new.certificate_id, Some(new))
        };
        let chain = checked.issuer_chain_pem.clone().or_else(|| authority.row.issuer_chain_pem.clone());
        write.imported_certificates.extend(new);
        write.authority_renewals.push(AuthorityRenewal {
            authority: authority.row.id,
            old: authority.row.certificate_id,
            new: certificate_id,
            issuer_chain_pem: chain,
        });
        let detail = json!({ "import": checked.summary() });
        write.audit.push(import.audit("authority.renew", ("authority", authority.row.id), None, detail));
        Ok(())
    }

    fn authority_row(&self, import: &Import<'_>) -> CertificateRow {
        let parent = import.checked.parent.as_ref();
        let own = import.checked.self_issued.then_some(import.authority_id.into());
        CertificateRow {
            authority_id: parent.map(|parent| parent.row.id).or(own),
            operation_id: import.authority_id.into(),
            issuer_certificate_id: parent.map(|parent| parent.row.certificate_id),
            category: CertificateCategory::Authority.as_str().into(),
            ..self.foreign_row(import, &import.checked.certificate)
        }
    }

    /// The row of the authority's key, and what writes it.
    async fn key_write(
        &self,
        import: &Import<'_>,
        certificate_id: Uuid,
    ) -> Result<(Uuid, Write), SecureError> {
        let public = &import.checked.certificate.public_key;
        let key_algorithm = public.algorithm().as_str().into();
        let key_size = i32::try_from(public.algorithm().bits()).unwrap_or(i32::MAX);
        let public_key_sha256 = public.fingerprint().to_vec();
        match &import.checked.key {
            SigningKey::Software(key) => {
                let wrapped = self.wrap_private_key(Purpose::Authorities, None, key).await?;
                let row = ImportedKeyRow {
                    id: wrapped.private_key_id.into(),
                    certificate_id,
                    // Whosever the certificate is: the key is the authority's.
                    organization_id: None,
                    encrypted_key_material: wrapped.ciphertext,
                    encryption_key_id: wrapped.encryption_key_id,
                    encryption_algorithm: crate::wrapping::ALGORITHM.into(),
                    key_algorithm,
                    key_size,
                    public_key_sha256,
                    created_at: import.now,
                };
                Ok((row.id, Write { imported_keys: vec![row], ..Write::default() }))
            }
            SigningKey::Token(pair) => {
                let row = TokenKeyRow {
                    id: pair.private_key_id.into(),
                    certificate_id,
                    key_algorithm,
                    key_size,
                    public_key_sha256,
                    hsm_provider: pair.provider(),
                    hsm_key_reference: pair.reference(),
                    created_at: import.now,
                };
                Ok((row.id, Write { token_keys: vec![row], ..Write::default() }))
            }
        }
    }
}
