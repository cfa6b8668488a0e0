//! The migration files of both databases.

use std::fs;
use std::path::Path;

#[test]
fn every_migration_says_why_and_only_adds() {
    for side in ["core", "secure"] {
        for (expected, (name, text)) in (1..).zip(migrations(side)) {
            assert!(name.starts_with(&format!("{expected:04}_")), "{side}: {name}");
            assert!(text.starts_with("-- "), "{side}: {name} opens without a reason");
            let taking = text.lines().find(|line| takes_away(line));
            assert_eq!(taking, None, "{side}: {name} takes away what a running program may use");
        }
    }
}

/// Whether a statement that begins on this line removes, renames or retypes something. To allow more rows takes nothing
/// away.
fn takes_away(line: &str) -> bool {
    let line = line.trim_start().to_uppercase();
    let widens = line.ends_with(" DROP NOT NULL;") || line.contains(" DROP CONSTRAINT ");
    let alters = line.starts_with("ALTER TABLE")
        && !widens
        && [" DROP ", " RENAME ", " ALTER COLUMN ", " TYPE "].iter().any(|word| line.contains(word));
    // An index holds no rows, and no program names one.
    let is_index = line.starts_with("DROP INDEX ");
    alters || !is_index && ["DROP ", "TRUNCATE ", "DELETE "].iter().any(|word| line.starts_with(word))
}

fn migrations(side: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{side}-db/migrations"));
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    files
}
