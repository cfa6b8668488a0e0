//! Migrations that some database has already run must never change: a change is a new migration.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::repository::Repository;

/// One line per frozen migration: git's id of its content, and its path.
const LIST: &str = "crates/xtask/frozen-migrations.txt";

pub(crate) fn check(repository: &Repository) -> Result<Vec<String>> {
    let current = contents(repository)?;
    let list = repository.read(LIST)?;
    let mut problems = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (id, path) = line.split_once(' ').with_context(|| format!("{LIST}: {line}"))?;
        match current.get(path) {
            Some(now) if now == id => {}
            Some(_) => problems.push(format!("{path}: frozen, and changed: write a new migration instead")),
            None => problems.push(format!("{path}: frozen, and gone")),
        }
    }
    Ok(problems)
}

pub(crate) fn freeze(repository: &Repository) -> Result<()> {
    let mut list = "# Written by `cargo xtask freeze`: migrations that databases have run.\n".to_owned();
    for (path, id) in contents(repository)? {
        writeln!(list, "{id} {path}")?;
    }
    fs::write(repository.root.join(LIST), list).context(LIST)
}

/// Path and content id of every migration.
fn contents(repository: &Repository) -> Result<BTreeMap<String, String>> {
    let mut paths = Vec::new();
    for database in ["core-db", "secure-db"] {
        let folder = format!("crates/{database}/migrations");
        for entry in fs::read_dir(repository.root.join(&folder)).context(folder.clone())? {
            let name = entry?.file_name().into_string().ok().context("a name is not UTF-8")?;
            paths.push(format!("{folder}/{name}"));
        }
    }
    let arguments: Vec<&str> =
        ["hash-object", "--"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let ids = repository.git(&arguments)?;
    Ok(paths.iter().cloned().zip(ids.lines().map(str::to_owned)).collect())
}
