//! Kills each process at every failpoint and at none, and each database, under load.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use clm_local::Service;
use clm_local::cluster::{Cluster, Database};
use clm_testkit::OldAuthority;

use crate::ALONE;
use crate::failpoints::{ALL, Failpoint, Victim};
use crate::house::{House, eventually, logged_since};
use crate::integrity::{compare_every, findings};
use crate::load::Load;
use crate::verdict::Judge;

/// Longest wait for a process to run into its failpoint.
const HIT_WITHIN: Duration = Duration::from_secs(30);
/// Crashes, one after the other, before everything is checked.
const AT_A_TIME: usize = 3;
/// From the recovery of everything to the agreement of both databases.
const AGREEMENT_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_under_load_nothing_is_lost() {
    let _alone = ALONE.lock().await;
    let house = House::open(true).await;
    // It must neither be misled by operations under way nor disturb them.
    compare_every(&house, 1);
    let judge = Judge::new(&house.installation).await;
    let mut siege = Siege { load: Load::start(&house), house, judge, slowest: Duration::ZERO };
    for points in ALL.chunks(AT_A_TIME) {
        points.iter().for_each(|point| siege.crash_at(point));
        siege.settle(&points.iter().map(|point| point.name).collect::<Vec<_>>().join(", ")).await;
    }
    siege.kill_services().await;
    siege.crash_databases().await;
    siege.end().await;
}

struct Siege {
    house: House,
    load: Load,
    judge: Judge,
    slowest: Duration,
}

impl Siege {
    fn crash_at(&self, point: &Failpoint) {
        let installation = &self.house.installation;
        match point.victim {
            Victim::Core => crash_service(&installation.core, point),
            Victim::Secure => crash_service(&installation.secure, point),
            Victim::Responder => self.crash_responder(point),
            Victim::Ceremony => self.crash_ceremony(point),
            Victim::Import => self.crash_import(point),
            Victim::Renewal => self.crash_renewal(point),
            Victim::Rotation => self.crash_rotation(point),
            Victim::MasterRotation => self.crash_master_rotation(point),
        }
    }

    /// A ceremony that died is taken up again by the same command, and makes one authority.
    fn crash_ceremony(&self, point: &Failpoint) {
        let installation = &self.house.installation;
        let url = installation.validation_url();
        let arguments = ["authority", "create", "--name", "Second", "--subject", "CN=Second"];
        let more = ["--profile", "issuing-ca", "--parent", "CLM Sandbox Root", "--validity-days", "90"];
        let arguments = [&arguments[..], &more[..], &["--base-url", &url]].concat();
        let died = installation.secure.run_with_failpoints(&point.setting(), &arguments);
        assert!(died.unwrap_err().to_string().contains("signal"), "{} was not hit", point.name);
        installation.secure.run(&arguments).unwrap();
        let made = self.house.sql(
            Database::Secure,
            "SELECT count(*) FROM certificate_authorities a JOIN certificates c ON c.certificate_id = a.certificate_id
             JOIN crls l ON l.authority_id = a.id WHERE a.name = 'Second' AND a.status = 'active'",
        );
        assert_eq!(made, "1");
    }

    /// A new authority gets its responder from the service, once, however often that dies.
    fn crash_responder(&self, point: &Failpoint) {
        let installation = &self.house.installation;
        let url = installation.validation_url();
        let subject = ["--subject", "CN=Answered", "--profile", "root-ca", "--validity-days", "90"];
        let arguments = ["authority", "create", "--name", "Answered", "--base-url", &url];
        installation.secure.stop().unwrap();
        installation.secure.run(&[&arguments[..], &subject].concat()).unwrap();
        crash_stopped(&installation.secure, point);
    }

    /// An import that died is taken up again by the same command, and brings everything once, under load.
    fn crash_import(&self, point: &Failpoint) {
        let installation = &self.house.installation;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let old = OldAuthority::root(folder.path(), point.name);
        old.issue("good.example.com");
        old.revoke(&old.issue("lost.example.com"), "superseded");
        let organization =
            self.house.sql(Database::Core, "SELECT id FROM organizations WHERE org_code = 'example'");
        let (owner, url) = (&self.house.alice.id, installation.validation_url());
        let arguments = old.import_arguments(point.name, &organization, owner, &url);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let died = installation.secure.run_with_failpoints(&point.setting(), &arguments);
        assert!(died.unwrap_err().to_string().contains("signal"), "{} was not hit", point.name);
        let pending = "SELECT count(*) FROM certificate_authorities WHERE status = 'pending'";
        assert_eq!(
            self.house.sql(Database::Secure, pending),
            "1",
            "it serves nobody until everything is here"
        );
        installation.secure.run(&arguments).unwrap();
        let made = format!(
            "SELECT a.status || ' ' || count(c.id) || ' ' || count(r.id) FROM certificate_authorities a
             JOIN certificates c ON c.authority_id = a.id AND c.category = 'leaf'
             LEFT JOIN certificate_revocations r ON r.certificate_id = c.certificate_id
             WHERE a.name = '{}' GROUP BY a.status",
            point.name
        );
        assert_eq!(self.house.sql(Database::Secure, &made), "active 2 1", "{}", point.name);
    }

    /// A renewal that died is taken up again by the same command: one new certificate, under load.
    fn crash_renewal(&self, point: &Failpoint) {
        let secure = &self.house.installation.secure;
        let arguments = ["authority", "renew", "--name", "CLM Sandbox Issuing CA", "--validity-days", "900"];
        let died = secure.run_with_failpoints(&point.setting(), &arguments);
        assert!(died.unwrap_err().to_string().contains("signal"), "{} was not hit", point.name);
        secure.run(&arguments).unwrap();
        let made = "SELECT count(*) FROM authority_certificates l JOIN certificate_authorities a ON a.id = l.authority_id
             WHERE a.name = 'CLM Sandbox Issuing CA'";
        assert_eq!(self.house.sql(Database::Secure, made), "2");
    }

    /// A rotation that died is taken up again by the same command, and leaves no version behind that was there before.
    fn crash_rotation(&self, point: &Failpoint) {
        let arguments = ["keys", "rotate", "--all"];
        let secure = &self.house.installation.secure;
        let before = self.house.sql(
            Database::Secure,
            "SELECT string_agg(quote_literal(id), ',') FROM encryption_keys WHERE state NOT IN ('destroyed', 'pre_active')",
        );
        let died = secure.run_with_failpoints(&point.setting(), &arguments);
        assert!(died.unwrap_err().to_string().contains("signal"), "{} was not hit", point.name);
        secure.run(&arguments).unwrap();
        let left = self.house.sql(
            Database::Secure,
            &format!("SELECT count(*) FROM encryption_keys WHERE id IN ({before}) AND state <> 'destroyed'"),
        );
        assert_eq!(left, "0", "{}", point.name);
        let lost = "SELECT count(*) FROM private_keys k JOIN encryption_keys e ON e.id = k.encryption_key_id WHERE e.state = 'destroyed'";
        assert_eq!(self.house.sql(Database::Secure, lost), "0", "{}", point.name);
    }

    /// The master key moves into a second sealed file; the rotation dies on the way and is called again.
    fn crash_master_rotation(&self, point: &Failpoint) {
        let secure = &self.house.installation.secure;
        let config = std::fs::read_to_string(secure.config_file()).unwrap();
        let next = |config: &str| config.replace("secrets/master-key", "secrets/next-master-key");
        let from = config.find("[master_key]").unwrap();
        let section = config[from..].split_inclusive("\n\n").next().unwrap();
        let both = format!("{config}\n{}", next(section).replace("[master_key]", "[next_master_key]"));
        std::fs::write(secure.config_file(), both).unwrap();
        secure.run(&["master", "init", "--next"]).unwrap();
        secure.stop().unwrap();
        start(secure);
        let died = secure.run_with_failpoints(&point.setting(), &["master", "rotate"]);
        assert!(died.unwrap_err().to_string().contains("signal"), "{} was not hit", point.name);
        secure.run(&["master", "rotate"]).unwrap();
        std::fs::write(secure.config_file(), config.replace(section, &next(section))).unwrap();
        secure.stop().unwrap();
        start(secure);
        let masters = "SELECT count(DISTINCT master_key_reference) FROM encryption_keys WHERE wrapped_key_material IS NOT NULL";
        assert_eq!(self.house.sql(Database::Secure, masters), "1");
    }

    async fn kill_services(&mut self) {
        for round in 0..2 {
            for service in [&self.house.installation.core, &self.house.installation.secure] {
                service.kill().unwrap();
                start(service);
            }
            self.settle(&format!("kill, round {round}")).await;
        }
    }

    async fn crash_databases(&mut self) {
        for victims in [&[Database::Core][..], &[Database::Secure], &[Database::Core, Database::Secure]] {
            let clusters: Vec<&Cluster> =
                victims.iter().map(|database| self.house.installation.databases.cluster(*database)).collect();
            clusters.iter().for_each(|cluster| cluster.stop_immediate().unwrap());
            clusters.iter().for_each(|cluster| cluster.start().unwrap());
            self.house.installation.secure.wait_ready().unwrap();
            self.house.installation.core.wait_ready().unwrap();
            self.settle(&format!("crash of {victims:?}")).await;
        }
    }

    /// Everything is up again: both databases agree soon, and nothing is lost.
    async fn settle(&mut self, after: &str) {
        let recovered = Instant::now();
        let Self { load, judge, .. } = self;
        let ledger = load.ledger();
        let paused = load.pause().await;
        let left = AGREEMENT_WITHIN.saturating_sub(recovered.elapsed());
        eventually(left, || async { judge.disagreement().await.map(|it| format!("after {after}: {it}")) })
            .await;
        let took = recovered.elapsed();
        println!("{after}: both databases agree after {:.1} s", took.as_secs_f64());
        let problems = judge.problems(&ledger).await;
        drop(paused);
        self.slowest = self.slowest.max(took);
        assert!(problems.is_empty(), "after {after}:\n{}", problems.join("\n"));
    }

    async fn end(self) {
        let Self { house, load, judge, slowest } = self;
        load.stop().await;
        house.installation.secure.run(&["audit", "verify"]).unwrap();
        for status in ["open", "alarm"] {
            let found = findings(&house, Some(status)).await;
            assert!(found.is_empty(), "{found:?}");
        }
        let (certificates, entries) = judge.size().await;
        println!(
            "{certificates} certificates, {entries} audit entries, slowest agreement {:.1} s",
            slowest.as_secs_f64()
        );
    }
}

/// Starts the service anew with the failpoint, waits until it has died of it, and starts it clean.
fn crash_service(service: &Service, point: &Failpoint) {
    service.kill().unwrap();
    crash_stopped(service, point);
}

fn crash_stopped(service: &Service, point: &Failpoint) {
    let length = std::fs::metadata(service.log_file()).unwrap().len();
    service.start_with_failpoints(&point.setting()).unwrap();
    service.wait_end(HIT_WITHIN).unwrap_or_else(|error| panic!("{} was not hit: {error}", point.name));
    let log = logged_since(&service.log_file(), length);
    let aborting = format!("\"failpoint\":\"{}\"", point.name);
    assert!(
        log.contains(&aborting),
        "{} ended of something else than {}:\n{log}",
        service.name(),
        point.name
    );
    start(service);
}

fn start(service: &Service) {
    service.start().unwrap();
    service.wait_ready().unwrap();
}
