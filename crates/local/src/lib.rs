//! A whole installation on one machine: two PostgreSQL clusters, both services, and the platform
//! authority that certifies them. The program `clm-local` and the tests use the same code.

mod cluster_configuration;
mod files;
mod os_user;
mod postgres_programs;
mod role;

pub mod cluster;
pub mod databases;
pub mod platform_ca;
pub mod process;
pub mod throwaway;

pub use os_user::OsUser;
