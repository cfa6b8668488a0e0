//! An installation with the people who use it.

use std::path::Path;
use std::time::{Duration, Instant};

use clm_local::cluster::Database;
use clm_testkit::TestInstallation;
use serde_json::json;

use crate::api::Person;

/// Lines of each log that are shown when a test fails.
const MOST_LINES: usize = 100;

/// Ids of built-in roles.
const REQUESTER: &str = "01900000-0000-7000-8000-000000000002";
const APPROVER: &str = "01900000-0000-7000-8000-000000000003";
const SERVICE: &str = "01900000-0000-7000-8000-000000000006";

pub(crate) struct House {
    pub(crate) installation: TestInstallation,
    pub(crate) administrator: Person,
    /// Asks; every request waits for approval.
    pub(crate) alice: Person,
    /// Approves.
    pub(crate) bob: Person,
    /// Approves too.
    pub(crate) carol: Person,
    /// A program whose requests nobody need approve.
    pub(crate) robot: Person,
}

impl House {
    pub(crate) async fn open(durable: bool) -> Self {
        let installation = TestInstallation::start_with(move |options| options.durable = durable).await;
        let token = installation.bootstrap_token();
        let (client, url) = (installation.client(), installation.api_url());
        let administrator = Person::bootstrap(client, &url, &token).await;
        Self {
            alice: administrator.hire("alice", REQUESTER).await,
            bob: administrator.hire("bob", APPROVER).await,
            carol: administrator.hire("carol", APPROVER).await,
            robot: administrator.hire("robot", SERVICE).await,
            administrator,
            installation,
        }
    }

    /// Runs SQL as the superuser of one database.
    pub(crate) fn sql(&self, database: Database, sql: &str) -> String {
        self.installation.databases.cluster(database).psql(database.name(), sql).unwrap()
    }

    /// Waits until Core has followed everything that Secure did.
    pub(crate) async fn follow(&self) {
        let number = |database, sql: &str| self.sql(database, sql).parse::<i64>().unwrap_or_default();
        let end = number(Database::Secure, "SELECT max(sequence) FROM events");
        eventually(Duration::from_secs(10), || async {
            let position = number(Database::Core, "SELECT max(sequence) FROM follower_positions");
            (position < end).then(|| format!("{position} of {end}"))
        })
        .await;
    }

    /// A certificate for `name` with a key that is generated and kept; its id.
    pub(crate) async fn issue(&self, name: &str) -> String {
        let body = json!({"profile": "tls-server", "key_algorithm": "ecdsa-p256", "sans": [format!("dns:{name}.example.com")]});
        let answer = self.robot.post("/requests", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("certificate_id").to_owned()
    }
}

/// What the services had to complain about, when the test has failed.
impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for service in [&self.installation.core, &self.installation.secure] {
            let log = logged_since(&service.log_file(), 0);
            let lines = log.lines().filter(|line| !line.contains(r#""message":"answered""#));
            let last: Vec<&str> = lines.rev().take(MOST_LINES).collect();
            println!("{}:", service.name());
            last.iter().rev().for_each(|line| println!("    {line}"));
        }
    }
}

/// Looks until there is nothing to complain about any more, `within` so long; gives how long it took.
pub(crate) async fn eventually<F>(within: Duration, mut complaint: impl FnMut() -> F) -> Duration
where
    F: Future<Output = Option<String>>,
{
    let begin = Instant::now();
    while let Some(complaint) = complaint().await {
        assert!(begin.elapsed() < within, "still after {within:?}: {complaint}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begin.elapsed()
}

/// What was added to a log file since it had `length` octets.
pub(crate) fn logged_since(file: &Path, length: u64) -> String {
    let octets = std::fs::read(file).unwrap_or_default();
    let new = octets.get(usize::try_from(length).unwrap()..).unwrap_or_default();
    String::from_utf8_lossy(new).into_owned()
}
