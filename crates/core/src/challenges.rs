//! Challenges that passkeys answer. They are kept nowhere: each carries its end and a mark of this service, and the answers that
//! were taken are written down, so none is taken twice. Nobody fills a table by asking for challenges.

use chrono::TimeDelta;
use clm_types::Time;

use crate::actor::SessionProof;
use crate::sealed_secrets::MARK_OCTETS;
use crate::webauthn::{Unsound, challenge_of};
use crate::{Core, CoreError};

/// How long a challenge can be answered.
pub const CHALLENGE_LIFETIME: TimeDelta = TimeDelta::minutes(5);
const RANDOM_OCTETS: usize = 16;
const TIME_OCTETS: usize = 8;

/// What a challenge is answered for. An answer to one purpose is none to another.
pub(crate) enum Purpose {
    Registration(SessionProof),
    SignIn,
    Factor(SessionProof),
}

impl Purpose {
    fn name(&self) -> String {
        match self {
            Self::Registration(session) => format!("passkey registration/{}", session.id),
            Self::SignIn => "passkey sign-in".to_owned(),
            Self::Factor(session) => format!("passkey factor/{}", session.id),
        }
    }
}

impl Core {
    /// Random octets, the end in milliseconds, the mark.
    pub(crate) fn new_challenge(&self, purpose: &Purpose) -> Result<Vec<u8>, CoreError> {
        let end = (self.clock.now() + CHALLENGE_LIFETIME).timestamp_millis();
        let random: [u8; RANDOM_OCTETS] = self.entropy.bytes();
        let given = [random.as_slice(), &end.to_be_bytes()].concat();
        let mark = self.secrets_keys.mark(&purpose.name(), &given)?;
        Ok([given.as_slice(), &mark].concat())
    }

    /// The challenge in the client data, if this service gave it for this purpose and its time is not over.
    pub(crate) fn check_challenge(
        &self,
        client_data: &[u8],
        purpose: &Purpose,
        now: Time,
    ) -> Result<Vec<u8>, Unsound> {
        let challenge = challenge_of(client_data)?;
        let foreign = || Unsound("the challenge is none of this service, or for another purpose");
        let (given, mark) = challenge.split_at_checked(RANDOM_OCTETS + TIME_OCTETS).ok_or_else(foreign)?;
        if mark.len() != MARK_OCTETS || !self.secrets_keys.knows(&purpose.name(), given, mark) {
            return Err(foreign());
        }
        let end = given.last_chunk::<TIME_OCTETS>().ok_or_else(foreign)?;
        if now.timestamp_millis() >= i64::from_be_bytes(*end) {
            return Err(Unsound("the time of the challenge is over"));
        }
        Ok(challenge)
    }
}
