//! Where the wire stops: each call parsed, one rule called, the answer encoded.

use bytes::Bytes;
use clm_rpc::codec::{document, id, id_bytes, optional_id, parse_document};
use clm_rpc::references::{write_operation, write_orphan, write_reference};
use clm_rpc::status::to_status;
use clm_rpc::v1;
use clm_rpc::v1::secure_service_server::SecureService;
use clm_secure::crls::PublishedCrl;
use clm_secure::ocsp::{OcspAnswer, OcspQuestion};
use clm_secure::{Secure, SecureError};
use clm_secure_db::audit::AuditQuery;
use clm_types::{CertificateId, OrphanKind, Refusal, SecureAuditEntry};
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The adapter between the contract and the rules.
pub(crate) struct Rpc {
    secure: Secure,
}

impl Rpc {
    pub(crate) const fn new(secure: Secure) -> Self {
        Self { secure }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// OCSP requests of one call.
const MOST_QUESTIONS: usize = 256;

/// Stands for the place before the first part of a list.
const BEFORE_FIRST: i32 = -1;

fn crl_chunk(crl: &PublishedCrl, octets: Vec<u8>) -> v1::CrlChunk {
    v1::CrlChunk {
        der: octets.into(),
        crl_number: crl.crl_number,
        this_update: crl.this_update.timestamp(),
        next_update: crl.next_update.timestamp(),
        octets: crl.octets,
    }
}

#[tonic::async_trait]
impl SecureService for Rpc {
    async fn submit_request(&self, call: Request<v1::SubmitRequestCall>) -> Answer<v1::SubmitRequestReply> {
        let call = call.into_inner();
        let operation_id = id(&call.operation_id, "operation_id").map_err(refused)?;
        self.secure.submit_request(operation_id, &call.spec).await.map_err(failed)?;
        Ok(Response::new(v1::SubmitRequestReply {}))
    }

    async fn reject_request(&self, call: Request<v1::RejectRequestCall>) -> Answer<v1::RejectRequestReply> {
        let call = call.into_inner();
        let operation_id = id(&call.operation_id, "operation_id").map_err(refused)?;
        let request_id = id(&call.request_id, "request_id").map_err(refused)?;
        let organization_id = id(&call.organization_id, "organization_id").map_err(refused)?;
        let decided_by = id(&call.decided_by, "decided_by").map_err(refused)?;
        let rejected =
            self.secure.reject_request(operation_id, request_id, organization_id, decided_by, &call.reason);
        rejected.await.map_err(failed)?;
        Ok(Response::new(v1::RejectRequestReply {}))
    }

    async fn issue(&self, call: Request<v1::IssueCall>) -> Answer<v1::IssueReply> {
        let call = call.into_inner();
        let issued = self.secure.issue(&call.spec, &call.mandate).await.map_err(failed)?;
        Ok(Response::new(v1::IssueReply { certificate: document(&issued).map_err(refused)?.into() }))
    }

    async fn revoke(&self, call: Request<v1::RevokeCall>) -> Answer<v1::RevokeReply> {
        let call = call.into_inner();
        let record = self.secure.revoke(&call.spec, &call.mandate).await.map_err(failed)?;
        Ok(Response::new(v1::RevokeReply { record: document(&record).map_err(refused)?.into() }))
    }

    async fn revoke_batch(&self, call: Request<v1::RevokeBatchCall>) -> Answer<v1::RevokeBatchReply> {
        let call = call.into_inner();
        let outcomes = self.secure.revoke_batch(&call.batch, &call.mandate).await.map_err(failed)?;
        let outcomes = outcomes.iter().map(|outcome| document(outcome).map(Into::into));
        Ok(Response::new(v1::RevokeBatchReply {
            outcomes: outcomes.collect::<Result<_, _>>().map_err(refused)?,
        }))
    }

    async fn list_same_key(&self, call: Request<v1::ListSameKeyCall>) -> Answer<v1::ListSameKeyReply> {
        let call = call.get_ref();
        let certificate_id = id(&call.certificate_id, "certificate_id").map_err(refused)?;
        let organization_id = id(&call.organization_id, "organization_id").map_err(refused)?;
        let found = self.secure.list_same_key(certificate_id, organization_id).await.map_err(failed)?;
        let certificate_ids = found.into_iter().map(|id| id_bytes(id).into()).collect();
        Ok(Response::new(v1::ListSameKeyReply { certificate_ids }))
    }

    async fn change_owner(&self, call: Request<v1::ChangeOwnerCall>) -> Answer<v1::ChangeOwnerReply> {
        let call = call.into_inner();
        let operation_id = id(&call.operation_id, "operation_id").map_err(refused)?;
        let change = parse_document(&call.change, "the change of owner").map_err(refused)?;
        let written = self.secure.change_owner(operation_id, &change).await.map_err(failed)?;
        Ok(Response::new(v1::ChangeOwnerReply { written }))
    }

    async fn find_transport_key(
        &self,
        _: Request<v1::FindTransportKeyCall>,
    ) -> Answer<v1::FindTransportKeyReply> {
        let key = document(&self.secure.transport_key()).map_err(refused)?.into();
        Ok(Response::new(v1::FindTransportKeyReply { key }))
    }

    async fn find_key(&self, call: Request<v1::FindKeyCall>) -> Answer<v1::FindKeyReply> {
        let call = call.into_inner();
        let certificate_id = id(&call.certificate_id, "certificate_id").map_err(refused)?;
        let organization_id = id(&call.organization_id, "organization_id").map_err(refused)?;
        let record = self.secure.find_key_record(certificate_id, organization_id).await.map_err(failed)?;
        Ok(Response::new(v1::FindKeyReply { record: document(&record).map_err(refused)?.into() }))
    }

    async fn change_key(&self, call: Request<v1::ChangeKeyCall>) -> Answer<v1::ChangeKeyReply> {
        let call = call.into_inner();
        let operation_id = id(&call.operation_id, "operation_id").map_err(refused)?;
        let order = parse_document(&call.order, "the order").map_err(refused)?;
        let record = self.secure.change_key(operation_id, &order).await.map_err(failed)?;
        Ok(Response::new(v1::ChangeKeyReply { record: document(&record).map_err(refused)?.into() }))
    }

    async fn grant_key_export(
        &self,
        call: Request<v1::GrantKeyExportCall>,
    ) -> Answer<v1::GrantKeyExportReply> {
        let call = call.into_inner();
        let grant = self.secure.grant_key_export(&call.spec, &call.mandate).await.map_err(failed)?;
        Ok(Response::new(v1::GrantKeyExportReply { grant: document(&grant).map_err(refused)?.into() }))
    }

    async fn fetch_key(&self, call: Request<v1::FetchKeyCall>) -> Answer<v1::FetchKeyReply> {
        let call = call.into_inner();
        let operation_id = id(&call.operation_id, "operation_id").map_err(refused)?;
        let organization_id = id(&call.organization_id, "organization_id").map_err(refused)?;
        let requested_by = id(&call.requested_by, "requested_by").map_err(refused)?;
        let fetched = self.secure.fetch_key(operation_id, organization_id, requested_by).await;
        let key = document(&fetched.map_err(failed)?).map_err(refused)?.into();
        Ok(Response::new(v1::FetchKeyReply { key }))
    }

    async fn list_key_accesses(
        &self,
        call: Request<v1::ListKeyAccessesCall>,
    ) -> Answer<v1::ListAuditEntriesReply> {
        let call = call.into_inner();
        let certificate_id = id(&call.certificate_id, "certificate_id").map_err(refused)?;
        let organization_id = id(&call.organization_id, "organization_id").map_err(refused)?;
        let before = optional_id(&call.before, "before").map_err(refused)?;
        let limit = call.limit.into();
        let listed = self.secure.list_key_accesses(certificate_id, organization_id, before, limit).await;
        audit_reply(&listed.map_err(failed)?)
    }

    async fn find_certificate(
        &self,
        call: Request<v1::FindCertificateCall>,
    ) -> Answer<v1::FindCertificateReply> {
        let certificate_id = id(&call.get_ref().certificate_id, "certificate_id").map_err(refused)?;
        let found = self.secure.find_certificate(certificate_id).await.map_err(failed)?;
        let certificate = found.map(|found| document(&found)).transpose().map_err(refused)?;
        Ok(Response::new(v1::FindCertificateReply { certificate: certificate.unwrap_or_default().into() }))
    }

    async fn list_authorities(
        &self,
        _: Request<v1::ListAuthoritiesCall>,
    ) -> Answer<v1::ListAuthoritiesReply> {
        let records = self.secure.list_authorities().await.map_err(failed)?;
        let authorities =
            records.iter().map(|record| document(record).map(Into::into)).collect::<Result<_, _>>();
        Ok(Response::new(v1::ListAuthoritiesReply { authorities: authorities.map_err(refused)? }))
    }

    type FetchCrlStream = BoxStream<'static, Result<v1::CrlChunk, Status>>;

    async fn fetch_crl(&self, call: Request<v1::FetchCrlCall>) -> Answer<Self::FetchCrlStream> {
        let call = call.get_ref();
        let authority_id = id(&call.authority_id, "authority_id").map_err(refused)?;
        let shard = i16::try_from(call.shard).unwrap_or(i16::MAX);
        let crl = self.secure.newest_crl(authority_id, shard, call.delta).await.map_err(failed)?;
        let chunks =
            stream::try_unfold((self.secure.clone(), BEFORE_FIRST), move |(secure, after)| async move {
                let part = secure.next_crl_part(crl.id, after).await.map_err(failed)?;
                Ok(part.map(|(position, octets)| (crl_chunk(&crl, octets), (secure, position))))
            });
        Ok(Response::new(chunks.boxed()))
    }

    async fn respond_ocsp(&self, call: Request<v1::RespondOcspCall>) -> Answer<v1::RespondOcspReply> {
        let questions = call.into_inner().questions;
        if questions.len() > MOST_QUESTIONS {
            return Err(Status::invalid_argument("too many questions at once"));
        }
        let questions = questions.into_iter().map(|question| {
            let authority_id = id(&question.authority_id, "authority_id").map_err(refused)?;
            Ok::<_, Status>(OcspQuestion { authority_id, request: question.request.to_vec() })
        });
        let questions = questions.collect::<Result<Vec<_>, _>>()?;
        let answers = self.secure.respond_ocsp(&questions).await.into_iter().map(ocsp_answer).collect();
        Ok(Response::new(v1::RespondOcspReply { answers }))
    }

    async fn read_events(&self, call: Request<v1::ReadEventsCall>) -> Answer<v1::ReadEventsReply> {
        let call = call.into_inner();
        let events = self.secure.read_events(call.after_sequence, call.limit).await.map_err(failed)?;
        let events = events.iter().map(|event| {
            let operation_id = id_bytes(event.operation_id).into();
            Ok(v1::Event { sequence: event.sequence, operation_id, event: document(&event.event)?.into() })
        });
        Ok(Response::new(v1::ReadEventsReply { events: events.collect::<Result<_, _>>().map_err(refused)? }))
    }

    type StreamReferencesStream = BoxStream<'static, Result<v1::ReferenceBatch, Status>>;

    async fn stream_references(
        &self,
        call: Request<v1::StreamReferencesCall>,
    ) -> Answer<Self::StreamReferencesStream> {
        let after: Option<CertificateId> = optional_id(&call.get_ref().after, "after").map_err(refused)?;
        let after = after.map_or_else(Uuid::nil, Into::into);
        let batches = batches(after, self.secure.clone(), |secure, after| async move {
            let rows = secure.list_references(after).await?;
            let last = rows.last().map(|row| row.certificate_id.into());
            Ok((v1::ReferenceBatch { references: rows.iter().map(write_reference).collect() }, last))
        });
        Ok(Response::new(batches))
    }

    type StreamOperationsStream = BoxStream<'static, Result<v1::OperationBatch, Status>>;

    async fn stream_operations(
        &self,
        _: Request<v1::StreamOperationsCall>,
    ) -> Answer<Self::StreamOperationsStream> {
        let batches = batches(Uuid::nil(), self.secure.clone(), |secure, after| async move {
            let rows = secure.list_operations(after).await?;
            let last = rows.last().map(|row| row.operation_id.into());
            Ok((v1::OperationBatch { operations: rows.iter().map(write_operation).collect() }, last))
        });
        Ok(Response::new(batches))
    }

    async fn find_operation(&self, call: Request<v1::FindOperationCall>) -> Answer<v1::FindOperationReply> {
        let operation_id = id(&call.get_ref().operation_id, "operation_id").map_err(refused)?;
        let found = self.secure.find_operation(operation_id).await.map_err(failed)?;
        Ok(Response::new(v1::FindOperationReply { operation: found.as_ref().map(write_operation) }))
    }

    type StreamOrphansStream = BoxStream<'static, Result<v1::OrphanBatch, Status>>;

    async fn stream_orphans(&self, _: Request<v1::StreamOrphansCall>) -> Answer<Self::StreamOrphansStream> {
        let secure = self.secure.clone();
        let of = move |kind| {
            batches(Uuid::nil(), secure.clone(), move |secure, after| async move {
                let (rows, last) = secure.list_orphans(kind, after).await?;
                Ok((v1::OrphanBatch { orphans: rows.iter().map(write_orphan).collect() }, last))
            })
        };
        Ok(Response::new(stream::iter(OrphanKind::ALL).flat_map(move |kind| of(*kind)).boxed()))
    }

    async fn find_chain_hash(&self, call: Request<v1::FindChainHashCall>) -> Answer<v1::FindChainHashReply> {
        let found = self.secure.chain_hash_at(call.get_ref().sequence).await.map_err(failed)?;
        Ok(Response::new(v1::FindChainHashReply { chain_hash: found.unwrap_or_default().into() }))
    }

    async fn list_audit_entries(
        &self,
        call: Request<v1::ListAuditEntriesCall>,
    ) -> Answer<v1::ListAuditEntriesReply> {
        let call = call.into_inner();
        let query = AuditQuery {
            organization_id: optional_id(&call.organization_id, "organization_id").map_err(refused)?,
            operation_id: optional_id(&call.operation_id, "operation_id").map_err(refused)?,
            object_id: optional_id(&call.object_id, "object_id").map_err(refused)?,
            before: optional_id(&call.before, "before").map_err(refused)?,
            limit: call.limit.into(),
        };
        audit_reply(&self.secure.list_audit_entries(&query).await.map_err(failed)?)
    }
}

fn audit_reply(entries: &[SecureAuditEntry]) -> Answer<v1::ListAuditEntriesReply> {
    let entries = entries.iter().map(|entry| document(entry).map(Into::into)).collect::<Result<_, _>>();
    Ok(Response::new(v1::ListAuditEntriesReply { entries: entries.map_err(refused)? }))
}

/// Batch after batch, each read from where the one before ended, when the caller wants it.
fn batches<B, F>(
    start: Uuid,
    secure: Secure,
    read: impl Fn(Secure, Uuid) -> F + Clone + Send + 'static,
) -> BoxStream<'static, Result<B, Status>>
where
    B: Send + 'static,
    F: Future<Output = Result<(B, Option<Uuid>), SecureError>> + Send + 'static,
{
    let batches = stream::try_unfold(start, move |after| {
        let next = read(secure.clone(), after);
        async move {
            let (batch, last) = next.await.map_err(failed)?;
            Ok(last.map(|last| (batch, last)))
        }
    });
    batches.boxed()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn refused(refusal: Refusal) -> Status {
    to_status(&refusal)
}

/// The caller hears the refusal; what went wrong inside goes into the log, once.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn failed(error: SecureError) -> Status {
    if !matches!(error, SecureError::Refused(_)) {
        tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
    }
    to_status(&error.to_refusal())
}

fn ocsp_answer(answer: Result<OcspAnswer, SecureError>) -> v1::OcspAnswer {
    match answer {
        Ok(answer) => v1::OcspAnswer {
            response: answer.der.into(),
            next_update: answer.next_update.map_or(0, |time| time.timestamp()),
            refusal_json: Bytes::new(),
        },
        Err(error) => v1::OcspAnswer {
            refusal_json: serde_json::to_vec(&error.to_refusal()).unwrap_or_default().into(),
            ..v1::OcspAnswer::default()
        },
    }
}
