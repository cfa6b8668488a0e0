//! A PKCS#11 token (hardware security module): keys that are made there, used there, and never leave.
//!
//! A token that goes away is looked for again at every call: its callers get an error that says so meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use secrecy::SecretBox;
use tokio::sync::Semaphore;

pub(crate) mod aes;
pub(crate) mod signing;

/// How long one call may take before its caller is told that the token does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the token is and how it is opened.
pub struct TokenSettings {
    /// The module's shared library.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// The user PIN.
    pub pin: SecretBox<Vec<u8>>,
    /// Calls at the same time.
    pub sessions: usize,
}

/// A token, or the hope that it comes back.
pub struct Token {
    settings: TokenSettings,
    /// Written to when the connection is made anew; no call is under way then.
    connection: RwLock<Connections>,
    /// A refused PIN is never tried again: the token would lock itself.
    pin_refused: AtomicBool,
    free: Arc<Semaphore>,
}

#[derive(Default)]
struct Connections {
    /// How many were made; the number of the one that is open.
    made: u64,
    open: Option<Connection>,
}

struct Connection {
    module: Pkcs11,
    slot: Slot,
    /// Keeps the login alive; a token forgets it with the last session.
    login: Mutex<Session>,
    idle: Mutex<Vec<Session>>,
    found: Mutex<HashMap<(u64, Vec<u8>), ObjectHandle>>,
}

/// What a token did not do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such module, no such token, or it went away.
    #[error("the token `{label}` cannot be reached")]
    Absent {
        /// The token's label.
        label: String,
        /// What the module said.
        #[source]
        source: Option<Error>,
    },
    /// The token refused the PIN; it is not tried again before a restart.
    #[error("the token `{0}` refused the PIN; correct the PIN's file and restart")]
    PinRefused(String),
    /// A key that should be there is not.
    #[error("the token has no key {0}")]
    NoKey(String),
    /// Not an algorithm of this token.
    #[error("the token makes no keys of type {0}")]
    Unsupported(String),
    /// The token said no.
    #[error("the token failed")]
    Failed(#[source] Error),
    /// What came back is not what was asked for.
    #[error("the token gave {0}")]
    Unexpected(&'static str),
}

/// What goes wrong with a session in hand.
pub(crate) enum CallError {
    Module(Error),
    Token(TokenError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

impl From<TokenError> for CallError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// A session in hand.
pub(crate) struct Call<'a> {
    pub(crate) session: &'a Session,
    connection: &'a Connection,
}

impl Call<'_> {
    /// The handle of a token's object, looked for once.
    pub(crate) fn find(&self, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, CallError> {
        let key = (*class, id.to_vec());
        if let Some(handle) = locked(&self.connection.found).get(&key) {
            return Ok(*handle);
        }
        let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.to_vec())];
        let handles = self.session.find_objects(&template)?;
        let handle = handles.first().copied().ok_or_else(|| TokenError::NoKey(hex::encode(id)))?;
        locked(&self.connection.found).insert(key, handle);
        Ok(handle)
    }

    /// Whether there is such an object.
    pub(crate) fn has(&self, class: ObjectClass, id: &[u8]) -> Result<bool, CallError> {
        let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.to_vec())];
        Ok(!self.session.find_objects(&template)?.is_empty())
    }
}

impl Token {
    /// Settings alone: the token itself may come later.
    pub fn new(settings: TokenSettings) -> Self {
        let free = Arc::new(Semaphore::new(settings.sessions.max(1)));
        Self { settings, connection: RwLock::default(), pin_refused: AtomicBool::new(false), free }
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.settings.label
    }

    /// Whether it answers now.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping(self: &Arc<Self>) -> Result<(), TokenError> {
        self.call(|call| Ok(call.session.get_session_info().map(drop)?)).await
    }

    /// Runs `work` with a session, on a thread where blocking is allowed. When the token went away, once more after
    /// it was found again: `work` may run twice.
    pub(crate) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&Call<'_>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let absent = || TokenError::Absent { label: self.settings.label.clone(), source: None };
        let permit = Arc::clone(&self.free).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, permit).await.map_err(|_| absent())?;
        let token = Arc::clone(self);
        let running = tokio::task::spawn_blocking(move || {
            // A call that hangs keeps its session and its place.
            let _permit = permit;
            token.call_blocking(&work)
        });
        tokio::time::timeout(PATIENCE, running).await.map_err(|_| absent())?.map_err(|_| absent())?
    }

    fn call_blocking<T>(&self, work: &impl Fn(&Call<'_>) -> Result<T, CallError>) -> Result<T, TokenError> {
        let (made, outcome) = self.attempt(work);
        match outcome {
            Some(Err(CallError::Module(error))) if gone(&error) => {
                tracing::warn!(%error, "the token went away");
            }
            Some(outcome) => return outcome.map_err(|error| self.failure(error)),
            None => {}
        }
        self.reconnect(made)?;
        match self.attempt(work) {
            (_, Some(outcome)) => outcome.map_err(|error| self.failure(error)),
            (_, None) => Err(self.absent(None)),
        }
    }

    /// Which connection was used, and what came of it; nothing when there is none.
    fn attempt<T>(
        &self,
        work: &impl Fn(&Call<'_>) -> Result<T, CallError>,
    ) -> (u64, Option<Result<T, CallError>>) {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = connection.open.as_ref() else { return (connection.made, None) };
        let idle = locked(&open.idle).pop();
        let session = match idle.map_or_else(|| open.module.open_rw_session(open.slot), Ok) {
            Ok(session) => session,
            Err(error) => return (connection.made, Some(Err(error.into()))),
        };
        let outcome = work(&Call { session: &session, connection: open });
        if !matches!(outcome, Err(CallError::Module(_))) {
            locked(&open.idle).push(session);
        }
        (connection.made, Some(outcome))
    }

    /// Makes a new connection, unless somebody else did since the one numbered `broken`.
    fn reconnect(&self, broken: u64) -> Result<(), TokenError> {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if connection.made != broken {
            return Ok(());
        }
        if let Some(old) = connection.open.take() {
            let Connection { module, login, idle, .. } = old;
            drop((login, idle));
            // Slots are listed anew only by a module that starts anew.
            let _ = module.finalize();
        }
        connection.open = Some(self.connect()?);
        connection.made += 1;
        tracing::info!(token = %self.settings.label, "the token is open");
        Ok(())
    }

    fn connect(&self) -> Result<Connection, TokenError> {
        if self.pin_refused.load(Ordering::Relaxed) {
            return Err(TokenError::PinRefused(self.settings.label.clone()));
        }
        let module = Pkcs11::new(&self.settings.module).map_err(|error| self.absent(Some(error)))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.absent(Some(error))),
        }
        match self.log_in(&module) {
            Ok((slot, login)) => Ok(Connection {
                module,
                slot,
                login: Mutex::new(login),
                idle: Mutex::default(),
                found: Mutex::default(),
            }),
            Err(error) => {
                let _ = module.finalize();
                Err(error)
            }
        }
    }

    fn log_in(&self, module: &Pkcs11) -> Result<(Slot, Session), TokenError> {
        let absent = |error| self.absent(Some(error));
        let slots = module.get_slots_with_initialized_token().map_err(absent)?;
        let labelled = slots.into_iter().find(|slot| {
            module.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == self.settings.label)
        });
        let slot = labelled.ok_or_else(|| self.absent(None))?;
        let session = module.open_rw_session(slot).map_err(absent)?;
        match session.login_with_raw(UserType::User, &self.settings.pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok((slot, session)),
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinLocked | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => {
                self.pin_refused.store(true, Ordering::Relaxed);
                Err(TokenError::PinRefused(self.settings.label.clone()))
            }
            Err(error) => Err(absent(error)),
        }
    }

    fn absent(&self, source: Option<Error>) -> TokenError {
        TokenError::Absent { label: self.settings.label.clone(), source }
    }

    fn failure(&self, error: CallError) -> TokenError {
        match error {
            CallError::Token(error) => error,
            CallError::Module(error) if gone(&error) => self.absent(Some(error)),
            CallError::Module(error) => TokenError::Failed(error),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("module", &self.settings.module)
            .field("label", &self.settings.label)
            .field("pin", &"[redacted]")
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a new connection may help.
const fn gone(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::DeviceError
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::SlotIdInvalid
                | RvError::CryptokiNotInitialized
                | RvError::UserNotLoggedIn
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::GeneralError
                | RvError::FunctionFailed,
            _
        )
    )
}
