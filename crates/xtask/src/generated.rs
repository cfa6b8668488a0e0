//! Files that programs write, and that must be fresh.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repository::Repository;

const OPENAPI: &str = "docs/reference/openapi.json";

/// The crates whose queries are compiled against a cache.
const CACHED: &[&str] = &["core-db", "secure-db"];

pub(crate) fn check_openapi(repository: &Repository) -> Result<Vec<String>> {
    let fresh_openapi = openapi(repository)?;
    // A file that is missing is as stale as one that differs.
    let fresh = fs::read(repository.root.join(OPENAPI)).is_ok_and(|stored| stored == fresh_openapi);
    Ok(if fresh { Vec::new() } else { vec![format!("{OPENAPI}: stale: run `cargo xtask openapi`")] })
}

pub(crate) fn write_openapi(repository: &Repository) -> Result<()> {
    let path = repository.root.join(OPENAPI);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(path, openapi(repository)?).context(OPENAPI)
}

fn openapi(repository: &Repository) -> Result<Vec<u8>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "clm-core-server", "--", "openapi"]);
    let output = command.current_dir(&repository.root).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`clm-core openapi` failed");
    }
    Ok(output.stdout)
}

/// Compiles the `-db` crates against throwaway databases, so that each query writes what the
/// database says about it; then replaces the caches. That they are fresh is a test of `testkit`.
pub(crate) fn sqlx(repository: &Repository) -> Result<()> {
    for name in CACHED {
        let fresh = repository.root.join("target/sqlx").join(name);
        let cache = repository.root.join(format!("crates/{name}/.sqlx"));
        describe_queries(repository, name, &fresh)?;
        replace(&fresh, &cache)?;
    }
    Ok(())
}

fn describe_queries(repository: &Repository, name: &str, target: &Path) -> Result<()> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    fs::create_dir_all(target)?;
    let source = repository.root.join(format!("crates/{name}/src/lib.rs"));
    let modified = fs::metadata(&source)?.modified()?;
    // Cargo does not see the variables below, but it sees a newer file.
    #[expect(clippy::disallowed_methods, reason = "the time of a file, nothing of the product")]
    set_modified(&source, std::time::SystemTime::now())?;
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "run",
        "--quiet",
        "--package",
        "clm-testkit",
        "--bin",
        "with-databases",
        "--",
        env!("CARGO"),
    ]);
    command.args(["check", "--quiet", "--package", &format!("clm-{name}")]);
    command.env("SQLX_OFFLINE_DIR", target).current_dir(&repository.root);
    let status = command.status();
    set_modified(&source, modified)?;
    if !status?.success() {
        bail!("crates/{name} does not compile against a fresh database");
    }
    Ok(())
}

fn set_modified(path: &Path, time: std::time::SystemTime) -> Result<()> {
    Ok(File::options().append(true).open(path)?.set_modified(time)?)
}

fn replace(fresh: &Path, cache: &Path) -> Result<()> {
    if cache.exists() {
        fs::remove_dir_all(cache)?;
    }
    fs::create_dir(cache)?;
    for entry in fs::read_dir(fresh)? {
        let entry = entry?;
        fs::copy(entry.path(), cache.join(entry.file_name()))?;
    }
    Ok(())
}
