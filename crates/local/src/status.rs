//! What runs, and where.

use serde::Serialize;

use crate::cluster::Cluster;
use crate::installation::Installation;
use crate::service::Service;

/// The state of an installation.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Both clusters, then both services.
    pub components: Vec<Component>,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct Component {
    /// `core database`, `clm-secure`, …
    pub name: String,
    /// Whether it does its work.
    pub state: State,
    /// Where it listens.
    pub address: String,
    /// Version of its program.
    pub version: Option<String>,
    /// Process id, if it runs.
    pub pid: Option<i32>,
}

/// Whether a component does its work.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs and can do its work.
    Ready,
    /// It runs and cannot: see its log.
    NotReady,
    /// It does not run.
    Stopped,
}

impl State {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Stopped => "stopped",
        }
    }
}

impl Installation {
    /// Looks at every process.
    pub fn status(&self) -> Status {
        let rpc = format!("127.0.0.1:{} (RPC)", self.options.ports.rpc);
        let components = vec![
            cluster(&self.databases.core),
            cluster(&self.databases.secure),
            service(&self.secure, rpc),
            service(&self.core, format!("{}, {}", self.api_url(), self.validation_url())),
        ];
        Status { components }
    }
}

fn cluster(cluster: &Cluster) -> Component {
    let pid = cluster.pid();
    let state = match pid {
        None => State::Stopped,
        Some(_) if cluster.psql("postgres", "SELECT 1").is_ok() => State::Ready,
        Some(_) => State::NotReady,
    };
    Component {
        name: format!("{} database", cluster.database().word()),
        state,
        address: format!("127.0.0.1:{}", cluster.port()),
        version: cluster.version().ok(),
        pid: pid.map(crate::process::Pid::number),
    }
}

fn service(service: &Service, address: String) -> Component {
    let pid = service.pid();
    let state = match pid {
        None => State::Stopped,
        Some(_) if service.is_ready() => State::Ready,
        Some(_) => State::NotReady,
    };
    Component {
        name: service.name(),
        state,
        address,
        version: service.version().ok(),
        pid: pid.map(crate::process::Pid::number),
    }
}
