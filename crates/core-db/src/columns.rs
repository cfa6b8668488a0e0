//! Rows as columns: many rows travel as one array per column, for `unnest`.

/// One column of these rows.
pub(crate) fn column<R, V>(rows: &[R], value: impl Fn(&R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}
