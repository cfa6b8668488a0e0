//! OCSP questions that Core has no answer for: those that wait at the same time go to Secure in one call.
//!
//! Nobody waits when nobody else does.

use std::sync::Arc;

use clm_rpc::SecureClient;
use clm_rpc::client::OcspAnswer;
use clm_types::{AuthorityId, ErrorCode, Refusal};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Questions that wait at most; more are held back at the caller.
const QUEUE: usize = 256;
/// Questions of one call at most.
const LARGEST_BATCH: usize = 64;
/// Calls at once: an authority whose token is slow does not hold up the others.
const CALLS_AT_ONCE: usize = 4;

/// The queue's entrance.
pub(crate) struct OcspQuestions {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    authority_id: AuthorityId,
    request: Vec<u8>,
    done: oneshot::Sender<Result<OcspAnswer, Refusal>>,
}

impl OcspQuestions {
    /// Starts the task that asks; it ends when the entrance is dropped.
    pub(crate) fn start(secure: SecureClient) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(ask_all(secure, waiting));
        Self { queue }
    }

    /// The signed answer to a request.
    pub(crate) async fn ask(
        &self,
        authority_id: AuthorityId,
        request: Vec<u8>,
    ) -> Result<OcspAnswer, Refusal> {
        let (done, answer) = oneshot::channel();
        let question = Waiting { authority_id, request, done };
        self.queue.send(question).await.map_err(|_| unavailable())?;
        answer.await.map_err(|_| unavailable())?
    }
}

async fn ask_all(secure: SecureClient, mut waiting: mpsc::Receiver<Waiting>) {
    let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    let mut batch = Vec::with_capacity(LARGEST_BATCH);
    // What comes while all calls are under way goes into the next one.
    while let Ok(call) = Arc::clone(&calls).acquire_owned().await {
        if waiting.recv_many(&mut batch, LARGEST_BATCH).await == 0 {
            return;
        }
        let (secure, questions) = (secure.clone(), std::mem::take(&mut batch));
        tokio::spawn(async move {
            ask(&secure, questions).await;
            drop(call);
        });
    }
}

async fn ask(secure: &SecureClient, questions: Vec<Waiting>) {
    let asked = questions.iter().map(|question| (question.authority_id, question.request.clone()));
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
    Refusal::new(ErrorCode::Unavailable, "the service is shutting down")
}
