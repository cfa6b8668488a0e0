//! What the API has acknowledged: none of it may be missing afterwards.

use std::collections::HashMap;
use std::sync::Mutex;

use uuid::Uuid;

use crate::api::Answer;

/// An acknowledged request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) operation_id: Uuid,
    pub(crate) status: String,
    pub(crate) certificate_id: Option<Uuid>,
}

/// Filled by all clients.
#[derive(Default)]
pub(crate) struct Ledger {
    requests: Mutex<HashMap<Uuid, Acknowledged>>,
    states: Mutex<HashMap<Uuid, &'static str>>,
}

impl Ledger {
    /// Notes the answer to a request; whether its operation is done.
    pub(crate) fn note(&self, answer: &Answer) -> bool {
        let status = answer.text("status").to_owned();
        let done = status == "completed";
        let certificate_id = answer.body["certificate_id"].as_str().map(|id| id.parse().unwrap());
        let noted = Acknowledged { operation_id: answer.uuid("operation_id"), status, certificate_id };
        self.requests.lock().unwrap().insert(answer.uuid("id"), noted);
        done
    }

    /// Notes the state that a certificate was acknowledged to get.
    pub(crate) fn expect(&self, certificate_id: Uuid, state: &'static str) {
        self.states.lock().unwrap().insert(certificate_id, state);
    }

    pub(crate) fn requests(&self) -> HashMap<Uuid, Acknowledged> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn states(&self) -> HashMap<Uuid, &'static str> {
        self.states.lock().unwrap().clone()
    }
}
