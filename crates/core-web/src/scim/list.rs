//! Lists by index (RFC 7644 §3.4.2.4).

use clm_core::provisioning::{LARGEST_WINDOW, Window};
use serde::Deserialize;

/// Resources of one page unless told.
const USUAL_COUNT: i64 = 100;

/// Which resources. An index below one is one, a number below zero zero; more than is given at once is cut.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListQuery {
    pub(super) filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
}

impl ListQuery {
    pub(super) fn window(&self) -> Window {
        let start = self.start_index.unwrap_or(1).max(1);
        let count = self.count.unwrap_or(USUAL_COUNT).clamp(0, i64::from(LARGEST_WINDOW));
        Window {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            count: u32::try_from(count).unwrap_or(LARGEST_WINDOW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_always_one_that_can_be_read() {
        let window = |start_index, count| ListQuery { filter: None, start_index, count }.window();
        assert_eq!(window(None, None), Window { start: 1, count: 100 });
        assert_eq!(window(Some(-3), Some(-1)), Window { start: 1, count: 0 });
        assert_eq!(window(Some(i64::MAX), Some(i64::MAX)), Window { start: u32::MAX, count: 200 });
    }
}
