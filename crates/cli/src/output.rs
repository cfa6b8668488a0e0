//! Printing: data on standard output, everything else on standard error.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use clm_api::Page;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::arguments::Output;

/// The API's own JSON.
pub(crate) fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => eprintln!("error: cannot print: {error}"),
    }
}

/// One document a line.
pub(crate) fn json_line<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => eprintln!("error: cannot print: {error}"),
    }
}

/// A list: a table with `headers`, one row each.
pub(crate) fn list<T: Serialize>(
    form: Output,
    page: &Page<T>,
    headers: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) {
    match form {
        Output::Json => json(page),
        Output::Table => {
            table(headers, page.items.iter().map(row));
            if let Some(cursor) = &page.next_cursor {
                eprintln!("there is more: --cursor {cursor}, or --all");
            }
        }
    }
}

/// One object: names and values. What has no value is left out.
pub(crate) fn object<T: Serialize>(form: Output, value: &T, fields: Vec<(&str, String)>) {
    if form == Output::Json {
        json(value);
        return;
    }
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(&format!("{name:width$}  {}", indented(&value, width)));
    }
}

/// A table without lines, for eyes and for `awk`.
pub(crate) fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for row in table.lines() {
        line(row.trim_end());
    }
}

/// The first names, and how many more there are.
pub(crate) fn names(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(2).map(String::as_str).collect();
    match names.len().saturating_sub(first.len()) {
        0 => first.join(" "),
        more => format!("{} +{more}", first.join(" ")),
    }
}

/// A time, to the second.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A value that may be absent.
pub(crate) fn maybe<T: ToString>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}

/// A time that may be absent.
pub(crate) fn maybe_time(value: Option<DateTime<Utc>>) -> String {
    value.map(time).unwrap_or_default()
}

/// A line.
pub(crate) fn line(text: &str) {
    // Whoever reads may have seen enough, as `head` does.
    let _ = writeln!(std::io::stdout(), "{}", clean(text));
}

/// Foreign text without what would act on the terminal: control characters, and those that show text in another order.
pub(crate) fn clean(text: &str) -> String {
    let acts = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// A value of several lines, none of which looks like another name and its value.
fn indented(value: &str, width: usize) -> String {
    value.lines().collect::<Vec<_>>().join(&format!("\n{:width$}  ", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_neither_acts_on_the_terminal_nor_looks_like_ours() {
        assert_eq!(
            clean("a\u{1b}[31m\rb\u{9b}c\u{202e}d\u{2066}\ne"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\ne"
        );
        assert_eq!(indented("mine\nstatus  active\n", 6), "mine\n        status  active");
        assert_eq!(indented("one", 6), "one");
    }
}
