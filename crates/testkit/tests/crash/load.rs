//! Clients that keep asking, whatever dies meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::api::{Answer, Person};
use crate::house::House;
use crate::ledger::Ledger;

/// Clients whose requests nobody need approve.
const ROBOTS: u32 = 3;
/// A public key on P-256 (its generator), to seal private keys to.
const RECIPIENT: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
/// How often a mass revocation is asked after.
const AFTER_A_LOOK: Duration = Duration::from_millis(200);
/// Clients whose requests wait for approval.
const PAIRS: u32 = 2;

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    /// Held for reading during each turn of a client.
    turn: RwLock<()>,
    stopped: AtomicBool,
    ledger: Arc<Ledger>,
    administrator: Person,
    robot: Person,
    alice: Person,
    bob: Person,
    carol: Person,
}

impl Load {
    pub(crate) fn start(house: &House) -> Self {
        let shared = Arc::new(Shared {
            turn: RwLock::default(),
            stopped: AtomicBool::new(false),
            ledger: Arc::default(),
            administrator: house.administrator.clone(),
            robot: house.robot.clone(),
            alice: house.alice.clone(),
            bob: house.bob.clone(),
            carol: house.carol.clone(),
        });
        let mut clients = JoinSet::new();
        for client in 0..ROBOTS {
            clients.spawn(Arc::clone(&shared).run_robot(client));
        }
        for client in 0..PAIRS {
            clients.spawn(Arc::clone(&shared).run_pair(client));
        }
        clients.spawn(Arc::clone(&shared).run_exports());
        clients.spawn(Arc::clone(&shared).run_mass_revocations());
        Self { shared, clients }
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.shared.ledger)
    }

    /// Lets every client finish its turn, and begin none while the guard is held.
    pub(crate) async fn pause(&mut self) -> RwLockWriteGuard<'_, ()> {
        if let Some(ended) = self.clients.try_join_next() {
            ended.unwrap();
            panic!("a client has ended");
        }
        self.shared.turn.write().await
    }

    pub(crate) async fn stop(mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

impl Shared {
    async fn run_robot(self: Arc<Self>, client: u32) {
        for number in 0_u32.. {
            let _turn = self.turn.read().await;
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("r{client}-{number}");
            let answer = self.robot.post("/requests", &request(&name, number % 2 == 0)).await;
            if self.ledger.note(&answer) {
                self.live(answer.uuid("certificate_id"), number).await;
            }
        }
    }

    /// What becomes of a certificate. Nothing follows on what is not yet done.
    async fn live(&self, id: Uuid, number: u32) {
        self.ledger.expect(id, "active");
        match number % 5 {
            0 => {
                self.change(id, "revoke", &json!({"reason": "superseded"}), "revoked").await;
            }
            1 | 2 => {
                let on_hold =
                    self.change(id, "revoke", &json!({"reason": "certificateHold"}), "on_hold").await;
                if on_hold && number.is_multiple_of(2) {
                    self.change(id, "release", &json!({}), "active").await;
                } else if on_hold {
                    self.change(id, "revoke", &json!({"reason": "keyCompromise"}), "revoked").await;
                }
            }
            3 => {
                let renewal = match number % 2 {
                    0 => json!({}),
                    _ => json!({"key_algorithm": "ecdsa-p256"}),
                };
                let answer = self.robot.post(&format!("/certificates/{id}/renew"), &renewal).await;
                if self.ledger.note(&answer) {
                    self.ledger.expect(answer.uuid("certificate_id"), "active");
                }
            }
            _ => {
                for owner in [&self.alice, &self.bob] {
                    let path = format!("/certificates/{id}");
                    let answer = self.administrator.patch(&path, &json!({"owner_user_id": owner.id})).await;
                    assert_eq!(answer.text("owner_user_id"), owner.id);
                }
            }
        }
    }

    async fn change(&self, id: Uuid, action: &str, body: &Value, state: &'static str) -> bool {
        let answer = self.robot.post(&format!("/certificates/{id}/{action}"), body).await;
        self.ledger.expect(id, state);
        self.ledger.note(&answer)
    }

    async fn run_pair(self: Arc<Self>, client: u32) {
        for number in 0_u32.. {
            let _turn = self.turn.read().await;
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let answer =
                self.alice.ask("/requests", &request(&format!("a{client}-{number}"), number % 3 == 0)).await;
            assert_eq!(answer.status, 202, "{answer:?}");
            self.ledger.note(&answer);
            let (who, action) = match number % 4 {
                0 | 1 => (&self.bob, "approve"),
                2 => (&self.bob, "reject"),
                _ => (&self.alice, "cancel"),
            };
            self.decide(who, answer.text("id"), action).await;
        }
    }

    /// One certificate whose key is handed out again and again: asked for, approved by two, fetched.
    async fn run_exports(self: Arc<Self>) {
        let mut certificate = None;
        loop {
            let _turn = self.turn.read().await;
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let id = match certificate {
                Some(id) => id,
                None => *certificate.insert(self.exportable().await),
            };
            let body = json!({"recipient": RECIPIENT, "purpose": "export", "reason": "load"});
            let asked = self.alice.ask(&format!("/certificates/{id}/key/exports"), &body).await;
            self.ledger.note(&asked);
            let path = format!("/requests/{}", asked.text("id"));
            for approver in [&self.bob, &self.carol] {
                let decided = approver.decide(&format!("{path}/approve")).await;
                let again = matches!(decided.code(), "workflow_not_pending" | "already_decided");
                assert!(decided.status < 300 || again, "{decided:?}");
            }
            let granted = self.alice.get(&path).await;
            if self.ledger.note(&granted) {
                let key = self.alice.decide(&format!("{path}/key")).await;
                assert_eq!(key.text("certificate_id"), id.to_string());
            }
        }
    }

    /// Two certificates are issued, and revoked together: selected, approved, awaited, each in a turn of its own.
    async fn run_mass_revocations(self: Arc<Self>) {
        for number in 0_u32.. {
            let mut ids = Vec::new();
            for part in ["a", "b"] {
                let _turn = self.turn.read().await;
                let answer = self.robot.post("/requests", &request(&format!("m{number}{part}"), false)).await;
                if self.ledger.note(&answer) {
                    ids.push(answer.uuid("certificate_id"));
                }
            }
            if ids.is_empty() {
                continue;
            }
            let path = {
                let _turn = self.turn.read().await;
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
                self.revoke_together(&ids).await
            };
            while self.status_of(&path).await != "completed" {
                tokio::time::sleep(AFTER_A_LOOK).await;
            }
        }
    }

    async fn revoke_together(&self, ids: &[Uuid]) -> String {
        let body = json!({"selection": {"certificate_ids": ids}, "reason": "superseded"});
        let created = self.robot.post("/mass-revocations", &body).await;
        let path = format!("/mass-revocations/{}", created.text("id"));
        let decided = self.bob.decide(&format!("{path}/approve")).await;
        // The echo of a try whose answer was lost.
        assert!(decided.status < 300 || decided.code() == "workflow_not_pending", "{decided:?}");
        ids.iter().for_each(|id| self.ledger.expect(*id, "revoked"));
        path
    }

    async fn status_of(&self, path: &str) -> String {
        let _turn = self.turn.read().await;
        self.robot.get(path).await.text("status").to_owned()
    }

    async fn exportable(&self) -> Uuid {
        loop {
            let answer = self.robot.post("/requests", &request("exports", false)).await;
            if self.ledger.note(&answer) {
                let id = answer.uuid("certificate_id");
                self.ledger.expect(id, "active");
                self.administrator
                    .patch(&format!("/certificates/{id}/key"), &json!({"exportable": true}))
                    .await;
                return id;
            }
        }
    }

    /// Decides; a refusal because it is decided already is the echo of a try whose answer was lost.
    async fn decide(&self, who: &Person, request: &str, action: &str) {
        let mut answer = who.decide(&format!("/requests/{request}/{action}")).await;
        if matches!(answer.code(), "workflow_not_pending" | "already_decided") {
            answer = who.get(&format!("/requests/{request}")).await;
        }
        assert!(answer.status < 300, "{action} {request}: {answer:?}");
        assert_ne!(answer.text("status"), "pending", "{action} {request}: {answer:?}");
        self.note_decided(&answer);
    }

    fn note_decided(&self, answer: &Answer) {
        if self.ledger.note(answer) {
            self.ledger.expect(answer.uuid("certificate_id"), "active");
        }
    }
}

fn request(name: &str, own_key: bool) -> Value {
    let name = format!("{name}.example.com");
    if own_key {
        json!({"profile": "tls-server", "csr_pem": csr_pem(&name)})
    } else {
        json!({"profile": "tls-server", "key_algorithm": "ecdsa-p256", "sans": [format!("dns:{name}")]})
    }
}

fn csr_pem(name: &str) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}
