//! The rules of Core with a real Secure Service behind the real wire: both sagas, and what mends them.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod approvals;
mod certificates;
mod checkpoints;
mod differences;
mod expiry;
mod follower;
mod house;
mod integrity;
mod integrity_runs;
mod jobs;
mod licenses;
mod mass_revocations;
mod owners;
mod renewals;
mod requests;
mod revocations;
/// The adapter of the program `clm-secure`, as it is.
#[path = "../../../secure-server/src/rpc.rs"]
mod rpc;
mod validation;
