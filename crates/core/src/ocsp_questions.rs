//! OCSP questions that Core has no answer for: those about one authority that wait at the same time go to Secure in one call.
//!
//! Nobody waits when nobody else does, and an authority whose token is slow holds up no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use clm_rpc::SecureClient;
use clm_rpc::client::OcspAnswer;
use clm_types::{AuthorityId, ErrorCode, Refusal};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Questions of one call at most, and those that wait for the next one; more are refused.
const LARGEST_BATCH: usize = 64;
/// Calls about one authority at once.
const CALLS_AT_ONCE: usize = 4;

/// The queues' entrances, one for each authority that was asked about. Authorities are few.
pub(crate) struct OcspQuestions {
    secure: SecureClient,
    queues: Mutex<HashMap<AuthorityId, mpsc::Sender<Waiting>>>,
}

struct Waiting {
    request: Vec<u8>,
    done: oneshot::Sender<Result<OcspAnswer, Refusal>>,
}

impl OcspQuestions {
    pub(crate) fn new(secure: SecureClient) -> Self {
        Self { secure, queues: Mutex::default() }
    }

    /// The signed answer to a request about an authority that there is; `unavailable` when too many wait.
    pub(crate) async fn ask(
        &self,
        authority_id: AuthorityId,
        request: Vec<u8>,
    ) -> Result<OcspAnswer, Refusal> {
        let (done, answer) = oneshot::channel();
        let queue = self.queue_of(authority_id);
        queue.try_send(Waiting { request, done }).map_err(|_| unavailable())?;
        answer.await.map_err(|_| unavailable())?
    }

    /// The authority's queue; the task behind it ends when the entrance is dropped.
    fn queue_of(&self, authority_id: AuthorityId) -> mpsc::Sender<Waiting> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(authority_id).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(LARGEST_BATCH);
            tokio::spawn(ask_all(self.secure.clone(), authority_id, waiting));
            queue
        });
        queue.clone()
    }
}

async fn ask_all(secure: SecureClient, authority_id: AuthorityId, mut waiting: mpsc::Receiver<Waiting>) {
    let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    // What comes while all calls are under way goes into the next one.
    while let Ok(call) = Arc::clone(&calls).acquire_owned().await {
        if waiting.recv_many(&mut batch, LARGEST_BATCH).await == 0 {
            return;
        }
        let (secure, questions) = (secure.clone(), std::mem::take(&mut batch));
        tokio::spawn(async move {
            ask(&secure, authority_id, questions).await;
            drop(call);
        });
    }
}

async fn ask(secure: &SecureClient, authority_id: AuthorityId, questions: Vec<Waiting>) {
    let asked = questions.iter().map(|question| (authority_id, question.request.clone()));
    match secure.respond_ocsp(asked).await {
        Ok(answers) => {
            for (question, answer) in questions.into_iter().zip(answers) {
                // A caller that has gone away does not care.
                let _ = question.done.send(answer);
            }
        }
        Err(refusal) => {
            for question in questions {
                let _ = question.done.send(Err(refusal.clone()));
            }
        }
    }
}

fn unavailable() -> Refusal {
    Refusal::new(ErrorCode::Unavailable, "too many ask about the authority").hint("try again in a moment")
}
