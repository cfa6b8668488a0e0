//! The two database clusters, judged with PostgreSQL's own client.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::process::Command;

use clm_local::OsUser;
use clm_local::cluster::{Cluster, ClusterOptions, Credentials, Database};
use clm_local::platform_ca::PlatformCa;
use clm_local::throwaway::{ThrowawayFolder, free_ports};
use clm_types::{Clock, Entropy};

struct Fixture {
    folder: ThrowawayFolder,
    ca: PlatformCa,
    cluster: Cluster,
}

impl Fixture {
    fn start(database: Database) -> Self {
        let folder = ThrowawayFolder::new().unwrap();
        let ca = PlatformCa::open_or_create(
            &folder.path().join("platform-ca"),
            Clock::system().now(),
            &Entropy::system(),
        )
        .unwrap();
        let [port] = free_ports().unwrap();
        let cluster = Cluster::new(ClusterOptions {
            database,
            folder: folder.path().join("databases").join(database.word()),
            port,
            durable: false,
            throwaway: false,
            os_user: OsUser::for_databases().unwrap(),
        })
        .unwrap();
        std::fs::create_dir(folder.path().join("databases")).unwrap();
        cluster.up(&ca).unwrap();
        Self { folder, ca, cluster }
    }

    fn credentials(&self, role: &str) -> Credentials {
        let folder = self.folder.path().join("operator");
        std::fs::create_dir_all(&folder).unwrap();
        self.cluster.credentials(&self.ca, role, &folder, &OsUser::current().unwrap()).unwrap()
    }
}

fn psql(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-XAtc", sql, url]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_role_logs_in_by_its_certificate_alone() {
    let fixture = Fixture::start(Database::Core);
    let app = fixture.credentials("clm_core_app");
    assert_eq!(psql(&app.url(), "SELECT current_user").unwrap(), "clm_core_app");
    let version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&app.url(), version).unwrap(), "TLSv1.3");

    let as_migrator = Credentials { user: "clm_core_migrator".to_owned(), ..app.clone() };
    assert!(psql(&as_migrator.url(), "SELECT 1").unwrap_err().contains("certificate authentication failed"));
    let as_superuser = Credentials { user: "postgres".to_owned(), ..app.clone() };
    assert!(psql(&as_superuser.url(), "SELECT 1").unwrap_err().contains("pg_hba.conf rejects"));
    let elsewhere = Credentials { database: "postgres".to_owned(), ..app.clone() };
    assert!(psql(&elsewhere.url(), "SELECT 1").unwrap_err().contains("pg_hba.conf rejects"));
    let plain = format!("postgres://clm_core_app@localhost:{}/clm_core_db?sslmode=disable", app.port);
    assert!(psql(&plain, "SELECT 1").unwrap_err().contains("pg_hba.conf rejects"));
    let anonymous =
        format!("postgres://clm_core_app@localhost:{}/clm_core_db?sslmode=require&sslcert=/none", app.port);
    assert!(psql(&anonymous, "SELECT 1").unwrap_err().contains("requires a valid client certificate"));
}

#[test]
fn a_certificate_of_one_cluster_is_nobody_in_the_other() {
    let fixture = Fixture::start(Database::Secure);
    let files = clm_local::platform_ca::KeyFiles::new(fixture.folder.path(), "foreign");
    fixture.ca.client(&files, "core-app", &OsUser::current().unwrap()).unwrap();
    let app = fixture.credentials("clm_secure_app");
    assert_eq!(psql(&app.url(), "SELECT current_user").unwrap(), "clm_secure_app");
    let foreign = Credentials { files, ..app };
    assert!(psql(&foreign.url(), "SELECT 1").unwrap_err().contains("certificate authentication failed"));
}

#[test]
fn up_again_changes_nothing_and_a_crash_is_recovered_from() {
    let fixture = Fixture::start(Database::Core);
    let before = fixture.cluster.pid().unwrap();
    fixture.cluster.up(&fixture.ca).unwrap();
    assert_eq!(fixture.cluster.pid(), Some(before));
    fixture.cluster.psql("clm_core_db", "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)").unwrap();
    fixture.cluster.stop_immediate().unwrap();
    assert_eq!(fixture.cluster.pid(), None);
    fixture.cluster.up(&fixture.ca).unwrap();
    assert_eq!(fixture.cluster.psql("clm_core_db", "SELECT id FROM kept").unwrap(), "7");
    assert_eq!(fixture.cluster.psql("clm_core_db", "SHOW data_checksums").unwrap(), "on");
    assert_eq!(fixture.cluster.psql("clm_core_db", "SHOW listen_addresses").unwrap(), "127.0.0.1");
    fixture.cluster.stop().unwrap();
    assert_eq!(fixture.cluster.pid(), None);
}

#[test]
fn nothing_stays_behind_a_throwaway_folder() {
    let fixture = Fixture::start(Database::Core);
    let pid = fixture.cluster.pid().unwrap();
    let path = fixture.folder.path().to_owned();
    drop(fixture);
    pid.wait(std::time::Duration::from_secs(10)).unwrap();
    assert!(!path.exists());
}
