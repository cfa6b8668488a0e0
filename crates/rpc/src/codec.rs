//! Identifiers and documents in messages.

use clm_types::{ErrorCode, Refusal};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// The 16 octets of an id.
pub fn id_bytes(id: impl Into<Uuid>) -> Vec<u8> {
    id.into().as_bytes().to_vec()
}

/// The 16 octets, or nothing.
pub fn optional_id_bytes<T: Into<Uuid>>(id: Option<T>) -> Vec<u8> {
    id.map(id_bytes).unwrap_or_default()
}

/// An id from exactly 16 octets.
///
/// # Errors
/// `invalid_request`, naming `field`.
pub fn id<T: From<Uuid>>(octets: &[u8], field: &str) -> Result<T, Refusal> {
    let id = Uuid::from_slice(octets);
    id.map(T::from)
        .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, format!("{field} is no 16-octet UUID")))
}

/// An id, or none for no octets.
///
/// # Errors
/// `invalid_request`, naming `field`.
pub fn optional_id<T: From<Uuid>>(octets: &[u8], field: &str) -> Result<Option<T>, Refusal> {
    if octets.is_empty() { Ok(None) } else { id(octets, field).map(Some) }
}

/// A document in canonical JSON (RFC 8785).
///
/// # Errors
/// `internal`, when the document has no JSON form.
pub fn document<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    let json = clm_types::canonical_json(value);
    json.map(String::into_bytes)
        .map_err(|_| Refusal::new(ErrorCode::Internal, "a document could not be encoded"))
}

/// A received document.
///
/// # Errors
/// `invalid_request`, naming `what` and the fault.
pub fn parse_document<T: DeserializeOwned>(octets: &[u8], what: &str) -> Result<T, Refusal> {
    serde_json::from_slice(octets)
        .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, format!("{what} cannot be read: {error}")))
}
