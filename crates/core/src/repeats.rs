//! Operations that are asked for twice: the second call finds what the first one began.

use clm_core_db::requests;
use clm_types::{ErrorCode, OperationId, Refusal};
use serde_json::Value;

use crate::requests::Submitted;
use crate::{AskedOperation, Core, CoreError, Ctx};

/// Where the stored request holds the digest of the call that made it.
const CALL_SHA256: &str = "call_sha256";

impl Core {
    /// Runs what begins an operation. If it fails and the caller has begun this operation before (which is
    /// what makes a repeat fail: the operation's id is unique), gives what became of that.
    pub(crate) async fn once(
        &self,
        ctx: &Ctx,
        begin: impl Future<Output = Result<Submitted, CoreError>>,
    ) -> Result<Submitted, CoreError> {
        let error = match begin.await {
            Ok(submitted) => return Ok(submitted),
            Err(error) => error,
        };
        let Some(asked) = &ctx.asked else {
            return Err(error);
        };
        match self.find_repeated(ctx, asked).await {
            Ok(Some(found)) => Ok(found),
            Err(CoreError::Refused(refusal)) => Err(refusal.into()),
            // Nothing was begun, or the first error says more.
            Ok(None) | Err(_) => Err(error),
        }
    }

    async fn find_repeated(&self, ctx: &Ctx, asked: &AskedOperation) -> Result<Option<Submitted>, CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = requests::find_for_execution(&mut tx, asked.operation_id.into()).await?;
        drop(tx);
        let Some(row) = found else {
            return Ok(None);
        };
        if row.context.get(CALL_SHA256).and_then(Value::as_str) != Some(&asked.call_sha256) {
            return Err(reused(asked.operation_id).into());
        }
        let request = self.read_stored_request(ctx, row.id.into()).await?;
        if let Some((code, detail)) = &request.failure {
            let code = code.parse().unwrap_or(ErrorCode::Internal);
            return Err(Refusal::new(code, detail).into());
        }
        Ok(Some(Submitted { request, certificate: None }))
    }
}

/// Notes the call in the context of the operation that it begins.
pub(crate) fn note_call(ctx: &Ctx, context: &mut Value) {
    if let (Some(asked), Some(context)) = (&ctx.asked, context.as_object_mut()) {
        context.insert(CALL_SHA256.to_owned(), Value::String(asked.call_sha256.clone()));
    }
}

fn reused(operation_id: OperationId) -> Refusal {
    Refusal::new(
        ErrorCode::IdempotencyKeyReused,
        format!("this Idempotency-Key began the operation {operation_id} with another path or body"),
    )
    .hint("use a new key for a new request")
}
