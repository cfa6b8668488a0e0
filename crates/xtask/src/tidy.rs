//! Rules about the text of files.

use std::path::Path;

use anyhow::Result;

use crate::repository::Repository;

const LONGEST_FILE: usize = 500;
/// Folders of one machine, which no reader has.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

pub(crate) fn check(repository: &Repository) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in repository.files()? {
        // Neither code nor text: pictures and the like.
        let Ok(text) = repository.read(&path) else {
            continue;
        };
        problems.extend(check_file(&path, &text));
    }
    Ok(problems)
}

fn check_file(path: &Path, text: &str) -> Vec<String> {
    let name = path.display();
    let mut problems = Vec::new();
    if let Some(length) = length_before_tests(path, text).filter(|length| *length > LONGEST_FILE) {
        problems.push(format!("{name}: {length} lines before its tests, more than {LONGEST_FILE}: split it"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if is_sql(path) && selects_all(line) {
            problems.push(format!("{name}:{number}: name the columns instead of the star"));
        }
        if let Some(found) = machine_path(path, line) {
            problems.push(format!("{name}:{number}: {found} is a folder of one machine"));
        }
    }
    problems
}

fn length_before_tests(path: &Path, text: &str) -> Option<usize> {
    let is_code = path.extension().is_some_and(|extension| extension == "rs");
    let is_product = path.iter().any(|part| part == "src");
    (is_code && is_product).then(|| text.lines().take_while(|line| *line != "#[cfg(test)]").count())
}

/// The product's own statements: in migrations and in the sources, not in tests, which quote others.
fn is_sql(path: &Path) -> bool {
    let part = |wanted: &str| path.iter().any(|part| part == wanted);
    !part("xtask") && !part("docs") && (part("src") || part("migrations"))
}

fn selects_all(line: &str) -> bool {
    let line = line.trim_start();
    let is_comment = line.starts_with("//") || line.starts_with("--");
    !is_comment && line.to_ascii_uppercase().contains("SELECT *")
}

fn machine_path<'a>(path: &Path, line: &'a str) -> Option<&'a str> {
    // Lock files and generated caches have no prose.
    if path.extension().is_some_and(|extension| extension == "lock") {
        return None;
    }
    line.split(|character: char| character.is_whitespace() || "\"'`(=:".contains(character))
        .find(|word| MACHINE_PATHS.iter().any(|folder| word.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_found_in_statements_only() {
        let sql = Path::new("crates/core-db/src/users.rs");
        assert_eq!(check_file(sql, "    \"SELECT * FROM users\"").len(), 1);
        assert_eq!(check_file(sql, "    // never SELECT * here").len(), 0);
        assert_eq!(check_file(Path::new("crates/testkit/tests/spec.rs"), "SELECT * FROM v").len(), 0);
        assert_eq!(check_file(sql, "SELECT count(*) FROM users").len(), 0);
    }

    #[test]
    fn long_files_are_found_without_their_tests() {
        let path = Path::new("crates/core/src/rules.rs");
        let long = "x\n".repeat(LONGEST_FILE);
        assert_eq!(check_file(path, &format!("{long}#[cfg(test)]\nmore\n")).len(), 0);
        assert_eq!(check_file(path, &format!("{long}one more\n")).len(), 1);
        assert_eq!(check_file(Path::new("docs/long.md"), &format!("{long}{long}")).len(), 0);
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        let readme = Path::new("README.md");
        let line = format!("see `{}main`", MACHINE_PATHS[0]);
        assert_eq!(check_file(readme, &line).len(), 1);
        assert_eq!(check_file(readme, "the folder target/work/ is fine").len(), 0);
    }
}
