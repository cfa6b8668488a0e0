//! A whole installation on one machine: two PostgreSQL clusters, both services, and the platform
//! authority that certifies them. The program `clm-local` and the tests use the same code.

mod cluster_configuration;
mod configuration;
mod files;
mod installation;
mod lock;
mod marker;
mod options;
mod os_user;
mod placement;
mod postgres_programs;
mod preflight;
mod role;
mod safe_folder;
mod service;
mod status;

pub mod cluster;
pub mod databases;
pub mod platform_ca;
pub mod process;
pub mod throwaway;

pub use installation::Installation;
pub use options::{Options, Ports};
pub use os_user::OsUser;
pub use service::Service;
pub use status::{Component, State, Status};
