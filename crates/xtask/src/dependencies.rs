//! Who may depend on whom. A crate exists only where a dependency must be forbidden.

use std::fs;

use anyhow::{Context, Result};
use toml::Table;

use crate::repository::Repository;

/// Folder, and which of our crates it may use. Tests may use more (`dev-dependencies`).
const OURS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("x509", &["types"]),
    ("pg", &["types"]),
    ("api", &["types"]),
    ("rpc", &["types"]),
    ("oidc", &["types"]),
    ("service", &["types"]),
    ("core-db", &["types", "pg"]),
    ("core", &["types", "x509", "pg", "rpc", "oidc", "core-db"]),
    ("core-web", &["types", "api", "core"]),
    ("core-server", &["types", "pg", "service", "rpc", "oidc", "core-db", "core", "core-web"]),
    ("secure-db", &["types", "pg"]),
    ("secure", &["types", "x509", "pg", "secure-db"]),
    ("secure-server", &["types", "pg", "service", "rpc", "secure-db", "secure"]),
    ("cli", &["types", "api"]),
    ("local", &["types", "service"]),
    ("xtask", &[]),
];

/// For development only: may use anything, and nothing of the product may use them.
const DEVELOPMENT: &[&str] = &["testkit", "bench"];

/// Crates of others that belong to one side of a wall, and the folders that may use them.
const FENCED: &[(&str, &[&str])] = &[
    ("sqlx", &["pg", "core-db", "secure-db", "testkit", "bench"]),
    ("axum", &["cli", "service", "core-web", "core-server"]),
    ("axum-server", &["core-server"]),
    ("tower-http", &["core-web", "core-server"]),
    ("tonic", &["rpc", "core-server", "secure-server"]),
    ("reqwest", &["cli", "core-server", "oidc", "testkit", "bench"]),
    ("rcgen", &["local", "bench"]),
    ("x509-cert", &["x509"]),
    ("der", &["x509"]),
    ("cryptoki", &["secure", "testkit"]),
    ("vsss-rs", &["secure"]),
];

pub(crate) fn check(repository: &Repository) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for entry in fs::read_dir(repository.root.join("crates"))? {
        let folder = entry?.file_name().into_string().ok().context("a folder's name is not UTF-8")?;
        let manifest: Table = repository.read(format!("crates/{folder}/Cargo.toml"))?.parse()?;
        problems.extend(check_crate(&folder, &dependencies(&manifest)));
    }
    Ok(problems)
}

fn dependencies(manifest: &Table) -> Vec<String> {
    let table = manifest.get("dependencies").and_then(|table| table.as_table());
    table.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn check_crate(folder: &str, dependencies: &[String]) -> Vec<String> {
    if DEVELOPMENT.contains(&folder) {
        return Vec::new();
    }
    let Some((_, ours)) = OURS.iter().find(|(name, _)| *name == folder) else {
        return vec![format!("crates/{folder}: not in the dependency table")];
    };
    let mut problems = Vec::new();
    for dependency in dependencies {
        let allowed = match dependency.strip_prefix("clm-") {
            Some(name) => ours.contains(&name),
            None => FENCED.iter().all(|(name, folders)| name != dependency || folders.contains(&folder)),
        };
        if !allowed {
            problems.push(format!("crates/{folder}: must not depend on {dependency}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(folder: &str, dependency: &str) -> usize {
        check_crate(folder, &[dependency.to_owned()]).len()
    }

    #[test]
    fn the_walls_stand() {
        for (folder, dependency) in [
            ("secure", "clm-core"),
            ("secure", "clm-rpc"),
            ("core", "clm-secure-db"),
            ("core-web", "clm-core-db"),
            ("core-web", "sqlx"),
            ("core", "axum"),
            ("cli", "clm-pg"),
            ("core-server", "clm-testkit"),
            ("brand-new", "serde"),
        ] {
            assert_eq!(problems(folder, dependency), 1, "{folder} -> {dependency}");
        }
    }

    #[test]
    fn what_the_table_allows_passes() {
        for (folder, dependency) in
            [("secure", "clm-secure-db"), ("pg", "sqlx"), ("testkit", "clm-core"), ("types", "serde")]
        {
            assert_eq!(problems(folder, dependency), 0, "{folder} -> {dependency}");
        }
    }
}
