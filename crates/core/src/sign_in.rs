//! Signing in with a password. Whoever cannot sign in is told the same, after the same work, whatever the reason.

use std::net::IpAddr;

use chrono::TimeDelta;
use clm_core_db::sessions::{self, SessionRow};
use clm_core_db::sign_in::{self, Lockout, SignInRow};
use clm_core_db::{DbError, PgConnection, PgPool, audit, role_assignments, users};
use clm_types::{Entropy, ErrorCode, OrganizationId, Refusal, SessionId, Time};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::actor::{Actor, MissingFactor};
use crate::audit::AuditEntry;
use crate::common_passwords::CommonPasswords;
use crate::email_messages::{Outbox, Recipient};
use crate::email_texts::EmailText;
use crate::identity_providers::IdentityProvider;
use crate::notifications::{self, Message};
use crate::passwords::{HashedPassword, PasswordCost};
use crate::roles::ADMINISTRATOR;
use crate::sealed_secrets::SecretsKeys;
use crate::sessions::of_session;
use crate::tokens::{Token, TokenKind};
use crate::webauthn::RelyingParty;
use crate::{Core, CoreError, Ctx};

/// Failures within the window that lock a user.
const MOST_FAILURES: i32 = 5;
const WINDOW: TimeDelta = TimeDelta::minutes(5);
const LOCK: TimeDelta = TimeDelta::minutes(15);
/// Administrators who are told of a lock.
const MOST_TOLD: i64 = 20;
/// Longest name of a program that is kept, in characters.
const LONGEST_USER_AGENT: usize = 200;

/// What signing in works with.
pub struct SignInParts {
    /// What a password costs.
    pub password_cost: PasswordCost,
    /// Under which secrets of one-time codes lie.
    pub secrets_keys: SecretsKeys,
    /// What authenticator programs call this installation.
    pub issuer: String,
    /// Whom passkeys are made for.
    pub relying_party: RelyingParty,
    /// A session ends when it is not used for so long,
    pub session_idle: TimeDelta,
    /// and after so long in any case.
    pub session_lifetime: TimeDelta,
    /// Passwords that nobody may take, beside those that come with the program.
    pub common_passwords: CommonPasswords,
    /// Whether everybody needs a second factor in sessions, and not only those of whom it is asked anyway.
    pub second_factor_required: bool,
    /// OpenID providers that are trusted.
    pub identity_providers: Vec<IdentityProvider>,
}

impl SignInParts {
    /// The least cost, and sessions of half an hour and half a day.
    pub fn usual(secrets_keys: SecretsKeys, relying_party: RelyingParty) -> Self {
        Self {
            password_cost: PasswordCost::LEAST,
            secrets_keys,
            issuer: "CLM".to_owned(),
            relying_party,
            session_idle: TimeDelta::minutes(30),
            session_lifetime: TimeDelta::hours(12),
            second_factor_required: false,
            common_passwords: CommonPasswords::default(),
            identity_providers: Vec::new(),
        }
    }
}

/// What is shown first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignInMethod {
    Password,
    /// Both factors at once: it is held, and its authenticator has verified its user.
    Passkey,
    /// A provider vouches.
    Oidc,
}

impl SignInMethod {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Passkey => "passkey",
            Self::Oidc => "oidc",
        }
    }
}

/// Somebody who has shown nothing yet.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The request.
    pub request_id: Uuid,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// The program, as it calls itself.
    pub user_agent: Option<String>,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// Its token, shown this once.
    pub token: Token,
    /// The session.
    pub session: SessionRow,
    /// What is to be shown or set up before anything else can be done.
    pub missing: Option<MissingFactor>,
}

/// The one answer to every sign-in that fails.
pub(crate) fn sign_in_failed() -> Refusal {
    Refusal::new(ErrorCode::SignInFailed, "this did not sign you in").hint(
        "check name, password and code; five failures in five minutes lock a user for 15 minutes, and an administrator can unlock it",
    )
}

impl Visitor {
    /// The circumstances for the audit, of one who is not known or not yet.
    pub(crate) fn ctx(&self, now: Time, organization: Option<Uuid>) -> Ctx {
        Ctx {
            actor: Actor::anonymous(),
            organization_id: OrganizationId(organization.unwrap_or_default()),
            now,
            request_id: self.request_id,
            address: self.address,
            asked: None,
        }
    }
}

impl Core {
    /// Opens a session for whoever knows the password of an active user.
    ///
    /// # Errors
    /// `sign_in_failed`, whatever was wrong.
    pub async fn sign_in(
        &self,
        username: &str,
        password: Zeroizing<String>,
        visitor: &Visitor,
    ) -> Result<SignedIn, CoreError> {
        let now = self.clock.now();
        let (user, home) = self.find_for_sign_in(username).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
        let fits = self.passwords.verify(password.clone(), hash, &self.entropy).await?;
        let ctx = visitor.ctx(now, home);
        let id = user.as_ref().map(|user| user.id);
        if let Some(user) = user.filter(|user| fits && may_sign_in(user, now)) {
            let rehashed = self.rehash_outdated(&user, password).await?;
            return self.open_session(&ctx, &user, rehashed.as_ref(), visitor.user_agent.as_deref()).await;
        }
        let ctx = &ctx;
        let noted = self.in_system("note_failed_sign_in", |mut tx| async move {
            let locked = self.note_failure(&mut tx, ctx, "session.open", id).await?;
            Ok((tx, locked))
        });
        if noted.await? {
            self.tell_of_lock(ctx, id.unwrap_or_default());
        }
        Err(sign_in_failed().into())
    }

    /// Makes passwords cost no less than those that are stored; to be called at the start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn raise_password_cost(&self) -> Result<(), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let highest = sign_in::find_highest_cost(&mut tx).await?;
        self.passwords.raise_cost(highest.map_or(0, i32::unsigned_abs));
        Ok(())
    }

    async fn find_for_sign_in(&self, username: &str) -> Result<(Option<SignInRow>, Option<Uuid>), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        let user = sign_in::find(&mut tx, username).await?;
        let home = users::find_home(&mut tx, user.as_ref().map(|user| user.id).unwrap_or_default()).await?;
        Ok((user, home))
    }

    async fn rehash_outdated(
        &self,
        user: &SignInRow,
        password: Zeroizing<String>,
    ) -> Result<Option<HashedPassword>, CoreError> {
        match &user.password_hash {
            Some(hash) if self.passwords.is_outdated(hash) => {
                self.passwords.hash(password, &self.entropy).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn open_session(
        &self,
        ctx: &Ctx,
        user: &SignInRow,
        rehashed: Option<&HashedPassword>,
        user_agent: Option<&str>,
    ) -> Result<SignedIn, CoreError> {
        let token = Token::generate(TokenKind::Session, &self.entropy);
        let session = self.new_session(ctx, user.id, user_agent, SignInMethod::Password);
        let (token_hash, row) = (&token.hash(), &session);
        let missing = self
            .in_system("open_session", |mut tx| async move {
                // The user may have been locked, disabled or given another password since it was read.
                let still = sign_in::lock(&mut tx, user.id).await?.ok_or_else(sign_in_failed)?;
                if !may_sign_in(&still, ctx.now) || still.password_changed_at != user.password_changed_at {
                    return Err(sign_in_failed().into());
                }
                if let (Some(old), Some(new)) = (&user.password_hash, rehashed) {
                    sign_in::rehash_password(&mut tx, user.id, old, (&new.hash, &new.salt)).await?;
                }
                let missing = self.insert_session(&mut tx, ctx, row, token_hash).await?;
                Ok((tx, missing))
            })
            .await?;
        Ok(SignedIn { token, session, missing })
    }

    /// Opens a session, in an open transaction; asks nothing. What it lacks.
    pub(crate) async fn insert_session(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        row: &SessionRow,
        token_hash: &[u8; 32],
    ) -> Result<Option<MissingFactor>, CoreError> {
        sessions::insert(conn, row, token_hash).await?;
        let missing = self.missing_factor(conn, token_hash, ctx.now).await?;
        if missing.is_none() {
            note_whole_sign_in(conn, ctx, row.user_id).await?;
        }
        let ctx = of_session(ctx, row);
        let entry = AuditEntry::of(&ctx, &self.entropy, "session.open", "session")
            .object(row.id)
            .detail(row.sign_in_method.as_str());
        audit::insert(conn, entry.row()).await?;
        Ok(missing)
    }

    pub(crate) fn new_session(
        &self,
        ctx: &Ctx,
        user_id: Uuid,
        user_agent: Option<&str>,
        method: SignInMethod,
    ) -> SessionRow {
        let printable = |text: &str| -> String {
            text.chars().filter(|one| !one.is_control()).take(LONGEST_USER_AGENT).collect()
        };
        SessionRow {
            id: SessionId::generate(ctx.now, &self.entropy).0,
            user_id,
            sign_in_method: method.as_str().to_owned(),
            ip_address: ctx.address.map(|address| address.to_string()),
            user_agent: user_agent.map(printable),
            mfa_at: (method == SignInMethod::Passkey).then_some(ctx.now),
            last_seen_at: ctx.now,
            expires_at: ctx.now + self.session_lifetime,
            revoked_at: None,
            created_at: ctx.now,
            external_identity_id: None,
            external_session: None,
        }
    }

    /// Notes a failure of a user, if there is one, in an open transaction. Whether it locked the user.
    pub(crate) async fn note_failure(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        action: &str,
        user_id: Option<Uuid>,
    ) -> Result<bool, CoreError> {
        let lockout =
            Lockout { most: MOST_FAILURES, window_start: ctx.now - WINDOW, locked_until: ctx.now + LOCK };
        let id = user_id.unwrap_or_default();
        let locked = sign_in::note_failure(conn, id, &lockout, ctx.now).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, action, "user").outcome("refused");
        let entry = match user_id {
            Some(id) => entry.object(id),
            None => entry.of_installation(),
        };
        audit::insert(conn, entry.row()).await?;
        if locked {
            let entry = AuditEntry::of(ctx, &self.entropy, "user.lock", "user").object(id);
            audit::insert(conn, entry.row()).await?;
        }
        Ok(locked)
    }

    /// Tells the user and the administrators of the installation. Not while the caller waits: it would show that there is such
    /// a user.
    pub(crate) fn tell_of_lock(&self, ctx: &Ctx, user_id: Uuid) {
        tracing::warn!(%user_id, address = ?ctx.address, "a user is locked after too many failed sign-ins");
        let (system, entropy, ctx) = (self.system.clone(), self.entropy.clone(), ctx.clone());
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let told = insert_lock_notices(&system, &entropy, outbox.as_deref(), &ctx, user_id).await;
            if let Err(error) = told {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "nobody could be told of a locked user"
                );
            }
        });
    }
}

async fn insert_lock_notices(
    system: &PgPool,
    entropy: &Entropy,
    outbox: Option<&Outbox>,
    ctx: &Ctx,
    user_id: Uuid,
) -> Result<(), CoreError> {
    let mut tx = clm_pg::begin(system).await?;
    let administrators = role_assignments::list_holders(&mut tx, ADMINISTRATOR.0, ctx.now, MOST_TOLD).await?;
    let mut told: Vec<Uuid> = administrators.iter().map(|holder| holder.user_id).chain([user_id]).collect();
    told.sort_unstable();
    told.dedup();
    let address = ctx.address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    let body = format!(
        "User {user_id}, after {MOST_FAILURES} failures in {} minutes; the last one came from {address}.",
        WINDOW.num_minutes()
    );
    let message = Message {
        kind: "user.lock",
        priority: "high",
        title: "A user was locked after failed sign-ins",
        body: &body,
    };
    notifications::tell_at_home(&mut tx, entropy, ctx.now, &told, &message).await?;
    if let Some(outbox) = outbox {
        mail_lock_notices(&mut tx, outbox, ctx, user_id, &told).await?;
    }
    Ok(clm_pg::commit(tx).await?)
}

async fn mail_lock_notices(
    conn: &mut PgConnection,
    outbox: &Outbox,
    ctx: &Ctx,
    locked: Uuid,
    told: &[Uuid],
) -> Result<(), CoreError> {
    let readers = sign_in::list(conn, told).await?;
    let Some(whom) = readers.iter().find(|user| user.id == locked).map(|user| &user.username) else {
        return Ok(());
    };
    for reader in &readers {
        let text = EmailText::Locked { whom, is_reader: reader.id == locked, address: ctx.address };
        outbox.write(conn, Recipient::from(reader), &text, ctx.now).await?;
    }
    Ok(())
}

pub(crate) fn may_sign_in(user: &SignInRow, now: Time) -> bool {
    user.status == "active" && user.locked_until.is_none_or(|until| until <= now)
}

/// Notes a sign-in that lacks nothing.
pub(crate) async fn note_whole_sign_in(
    conn: &mut PgConnection,
    ctx: &Ctx,
    user_id: Uuid,
) -> Result<(), DbError> {
    let address = ctx.address.map(|address| address.to_string());
    sign_in::note_success(conn, user_id, address.as_deref(), ctx.now).await
}
