//! Named points at which a test makes the process die, as if the power had failed.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "CLM_FAILPOINTS";

/// A failpoint setting that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}: `{0}` is not `name=abort` or `name=3*off->abort`")]
pub struct FailpointError(String);

/// Sets the failpoints of the environment variable `CLM_FAILPOINTS`, separated by `;`.
/// `name=abort` kills the process at the first hit, `name=3*off->abort` at the fourth.
pub fn init_failpoints() -> Result<(), FailpointError> {
    let settings = env::var(VARIABLE).unwrap_or_default();
    for setting in settings.split(';').map(str::trim).filter(|setting| !setting.is_empty()) {
        let (name, skip) = parse(setting).ok_or_else(|| FailpointError(setting.to_owned()))?;
        let hits = AtomicU64::new(0);
        let point = name.to_owned();
        let action = move || {
            if hits.fetch_add(1, Ordering::SeqCst) == skip {
                tracing::error!(failpoint = point, "aborting");
                // No destructor, no flush, no goodbye on any connection.
                std::process::abort();
            }
        };
        fail::cfg_callback(name, action).map_err(FailpointError)?;
    }
    Ok(())
}

/// Name, and how many hits to let pass.
fn parse(setting: &str) -> Option<(&str, u64)> {
    let (name, action) = setting.split_once('=')?;
    let skip = match action.split_once("->") {
        None => action.eq("abort").then_some(0),
        Some((off, "abort")) => off.strip_suffix("*off")?.parse().ok(),
        Some(_) => None,
    };
    Some((name, skip?)).filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_a_point_and_the_hits_to_let_pass() {
        assert_eq!(parse("issue_after_intent=abort"), Some(("issue_after_intent", 0)));
        assert_eq!(parse("x=3*off->abort"), Some(("x", 3)));
        for wrong in ["x", "x=", "=abort", "x=panic", "x=3*on->abort", "x=*off->abort", "x=3*off->return"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
