//! A whole installation, judged from outside.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clm_local::cluster::Database;
use clm_local::{Installation, Options, OsUser, Ports, Service, State};
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

fn on(installation: &Installation, ports: Ports) -> Installation {
    Installation::new(Options { ports, ..installation.options().clone() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_keeps_its_ports_and_what_stands_in_certificates_stays() {
    let installation = TestInstallation::start().await;
    let (old, free) = (installation.options().ports, Ports::free().unwrap());
    let new = Ports { validation: old.validation, ..free };
    let remembered = || Installation::ports_of(installation.folder()).unwrap().unwrap();
    let pids = (installation.core.pid(), installation.secure.pid(), installation.databases.core.pid());

    let error = up(&on(&installation, new)).unwrap_err().to_string();
    assert!(error.contains("clm-local down"), "{error}");
    assert_eq!(remembered(), old);
    assert_eq!(states(&installation), [State::Ready; 4]);
    assert_eq!(pids, (installation.core.pid(), installation.secure.pid(), installation.databases.core.pid()));

    installation.down().unwrap();
    let error = up(&on(&installation, Ports { validation: free.validation, ..old })).unwrap_err().to_string();
    assert!(error.contains(&old.validation.to_string()) && error.contains("reset --yes"), "{error}");
    let taken = TcpListener::bind(("127.0.0.1", new.api)).unwrap();
    let error = up(&on(&installation, new)).unwrap_err().to_string();
    assert!(error.contains(&new.api.to_string()) && error.contains("--api-port"), "{error}");
    assert_eq!(remembered(), old);
    assert_eq!(states(&installation), [State::Stopped; 4]);

    drop(taken);
    let moved = on(&installation, new);
    up(&moved).unwrap();
    assert_eq!(states(&moved), [State::Ready; 4]);
    assert_eq!(remembered(), new);
    let ready = installation.client().get(format!("{}/openapi.json", moved.api_url())).send().await.unwrap();
    assert!(ready.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_configuration_changed_is_restarted() {
    let installation = TestInstallation::start().await;
    let (core, secure) = (installation.core.pid(), installation.secure.pid());
    let mut config = std::fs::OpenOptions::new().append(true).open(installation.core.config_file()).unwrap();
    writeln!(config, "# changed").unwrap();
    up(&installation).unwrap();
    assert_eq!(states(&installation), [State::Ready; 4]);
    assert_ne!(installation.core.pid(), core);
    assert_eq!(installation.secure.pid(), secure);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_number_was_not_recorded_is_found() {
    let installation = TestInstallation::start().await;
    let Installation { core, secure, .. } = &*installation;
    let pids = (core.pid().unwrap(), secure.pid().unwrap());
    for word in ["core", "secure"] {
        std::fs::remove_file(installation.folder().join(format!("{word}/{word}.pid"))).unwrap();
    }
    assert_eq!(states(&installation), [State::Ready; 4]);
    assert_eq!((core.pid().unwrap(), secure.pid().unwrap()), pids);
    // What it was started from is not known: it is replaced.
    core.start().unwrap();
    core.wait_ready().unwrap();
    assert!(!pids.0.is_alive());
    installation.down().unwrap();
    assert!(!pids.1.is_alive());
    assert_eq!(states(&installation), [State::Stopped; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_changes_an_installation() {
    let installation = TestInstallation::start().await;
    let lock = std::fs::File::open(installation.folder().join("clm-local.lock")).unwrap();
    lock.lock().unwrap();
    for outcome in [up(&installation), installation.down(), installation.reset()] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("another clm-local"), "{error}");
    }
    assert_eq!(states(&installation), [State::Ready; 4]);
    drop(lock);
    installation.down().unwrap();
    assert_eq!(states(&installation), [State::Stopped; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_has_only_its_own_secrets() {
    let installation = TestInstallation::start().await;
    for (service, foreign) in [(&installation.core, "clm_secure"), (&installation.secure, "clm_core")] {
        let config = std::fs::read_to_string(service.config_file()).unwrap();
        assert!(!config.contains(foreign), "{config}");
        check_owners(service);
        let files = files_below(service.folder());
        for file in files.iter().filter(|file| file.is_file() && **file != service.log_file()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let foreign = foreign.trim_start_matches("clm_");
            assert!(!name.contains("migrator") && !name.starts_with(foreign), "{}", file.display());
            let content = std::fs::read(file).unwrap();
            assert!(!String::from_utf8_lossy(&content).contains("migrat"), "{}", file.display());
        }
    }
    // The migrators' credentials are the operator's.
    let operator = installation.folder().join("operator");
    assert_eq!(mode(&operator), 0o700);
    for name in ["core-migrate.toml", "core-migrator.key", "secure-migrate.toml", "secure-migrator.key"] {
        assert_eq!(mode(&operator.join(name)), 0o600, "{name}");
    }
    // A certificate of one side is nobody to the other.
    let mut config = installation.config(Database::Secure, "clm_secure_app");
    let core = installation.config(Database::Core, "clm_core_app");
    (config.cert_file, config.key_file) = (core.cert_file, core.key_file);
    assert!(clm_pg::connect(&config, "test").await.is_err());
}

/// Everything in the folder of a service is its user's, and nobody else can get in.
fn check_owners(service: &Service) {
    let user = service.os_user();
    assert_eq!(mode(service.folder()), 0o700);
    for path in files_below(service.folder()) {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (user.uid, user.gid), "{}", path.display());
        let is_secret =
            path.extension().is_some_and(|it| it == "key") || path.parent().unwrap().ends_with("secrets");
        assert!(!is_secret || mode(&path) == 0o600, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_walls_the_services_off_from_each_other() {
    let installation = TestInstallation::start().await;
    let Installation { core, secure, .. } = &*installation;
    let current = OsUser::current().unwrap();
    if current.uid != 0 {
        assert_eq!((core.os_user(), secure.os_user()), (&current, &current));
        return;
    }
    assert_eq!((core.os_user().name.as_str(), secure.os_user().name.as_str()), ("clm-core", "clm-secure"));
    for (service, other) in [(core, secure), (secure, core)] {
        let pid = service.pid().unwrap().number();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = service.os_user().uid;
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        assert!(status.contains("Groups:\t \n"), "{status}");
        assert!(can_read(service, &service.config_file()));
        assert!(!can_read(service, &other.config_file()));
        assert!(!can_read(service, &other.folder().join("tls/platform-ca.pem")));
        for folder in ["platform-ca", "operator", "databases/core", "databases/secure"] {
            assert!(!can_read(service, &installation.folder().join(folder)), "{folder}");
        }
        assert!(!can_write(service, &installation.folder().join("programs")));
    }
    // An operator who is root reads a service's files and leaves none of his there.
    installation.bootstrap_token();
    for service in [core, secure] {
        let program = installation.folder().join("programs").join(service.name());
        let config = service.config_file();
        let checked = Command::new(program).arg("check-config").arg("--config").arg(config).status();
        assert!(checked.unwrap().success());
        check_owners(service);
    }
}

fn can_read(service: &Service, path: &Path) -> bool {
    as_service(service, &["test", "-r"], path)
}

fn can_write(service: &Service, path: &Path) -> bool {
    as_service(service, &["test", "-w"], path)
}

fn as_service(service: &Service, words: &[&str], path: &Path) -> bool {
    let mut command = Command::new(words[0]);
    service.os_user().run_as(&mut command);
    command.args(&words[1..]).arg(path).output().unwrap().status.success()
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// Files and folders.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| {
        let more = if path.is_dir() { files_below(&path) } else { Vec::new() };
        std::iter::once(path).chain(more)
    };
    entries.flat_map(below).collect()
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
