//! A whole installation under load: whatever is killed, both databases agree afterwards and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod api;
mod crashes;
mod failpoints;
mod house;
mod integrity;
mod leaks;
mod ledger;
mod load;
mod planted;
mod streaming;
mod verdict;

/// One installation at a time: a second one would spoil the figures of the first.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
