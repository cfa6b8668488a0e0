//! OCSP (RFC 6960): requests read, responses written. Nonces as in RFC 9654.

mod cert_id;
mod request;
mod response;

pub use cert_id::CertId;
pub use request::{LARGEST, OcspRequest};
pub use response::{
    CertStatus, OcspError, OcspResponse, ResponseData, SingleResponse, assemble, error_response,
};

use const_oid::ObjectIdentifier;

/// id-pkix-ocsp-nonce
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
/// id-pkix-ocsp-basic
const BASIC_RESPONSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
