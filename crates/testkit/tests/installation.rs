//! A whole installation, judged from outside.

use std::net::TcpListener;
use std::process::Command;

use clm_local::cluster::Database;
use clm_local::{Installation, State};
use clm_testkit::TestInstallation;
use clm_types::{Clock, Entropy};

fn up(installation: &Installation) -> anyhow::Result<()> {
    installation.up(Clock::system().now(), &Entropy::system(), |_| {})
}

fn states(installation: &Installation) -> Vec<State> {
    installation.status().components.iter().map(|component| component.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_starts_resumes_after_a_crash_and_stops() {
    let installation = TestInstallation::start().await;
    assert_eq!(states(&installation), [State::Ready; 4]);

    let pids = (installation.core.pid(), installation.secure.pid(), installation.databases.core.pid());
    up(&installation).unwrap();
    let again = (installation.core.pid(), installation.secure.pid(), installation.databases.core.pid());
    assert_eq!(pids, again, "a second `up` restarts nothing");

    installation.core.kill().unwrap();
    installation.databases.secure.stop_immediate().unwrap();
    assert_ne!(states(&installation), [State::Ready; 4]);
    up(&installation).unwrap();
    assert_eq!(states(&installation), [State::Ready; 4]);

    installation.down().unwrap();
    assert_eq!(states(&installation), [State::Stopped; 4]);
    up(&installation).unwrap();
    assert_eq!(states(&installation), [State::Ready; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_before_anything_starts() {
    let installation = TestInstallation::start().await;
    installation.down().unwrap();
    let ports = Installation::ports_of(installation.folder()).unwrap().unwrap();
    let _taken = TcpListener::bind(("127.0.0.1", ports.rpc)).unwrap();
    let error = up(&installation).unwrap_err().to_string();
    assert!(error.contains(&ports.rpc.to_string()) && error.contains("--rpc-port"), "{error}");
    assert_eq!(states(&installation), [State::Stopped; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_has_only_its_own_secrets() {
    let installation = TestInstallation::start().await;
    for (service, foreign) in [(&installation.core, "clm_secure"), (&installation.secure, "clm_core")] {
        let config = std::fs::read_to_string(service.config_file()).unwrap();
        assert!(!config.contains(foreign), "{config}");
        let mode = Command::new("stat").args(["-c", "%a"]).arg(service.folder()).output().unwrap();
        assert_eq!(String::from_utf8(mode.stdout).unwrap().trim(), "700");
    }
    // A certificate of one side is nobody to the other.
    let mut config = installation.config(Database::Secure, "clm_secure_app");
    let core = installation.config(Database::Core, "clm_core_app");
    (config.cert_file, config.key_file) = (core.cert_file, core.key_file);
    assert!(clm_pg::connect(&config, "test").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_somebody_else_is_never_deleted() {
    let installation = TestInstallation::start().await;
    let folder = installation.folder().to_owned();
    let marker = folder.join("clm-local.json");
    let kept = std::fs::read(&marker).unwrap();
    std::fs::remove_file(&marker).unwrap();
    assert!(installation.reset().unwrap_err().to_string().contains("is left alone"));
    std::fs::write(&marker, kept).unwrap();
    installation.reset().unwrap();
    assert!(!folder.exists());
}
