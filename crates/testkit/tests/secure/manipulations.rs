//! Ten thousand things that somebody may do who may do everything in the database. Each is found and named.

use clm_secure::verification::{Fault, Range, verify_all, verify_chain};
use clm_types::checkpoint::AuditCheckpoint;
use clm_types::{Entropy, KeySource, RevocationReason, RevocationSpec};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::desk::Desk;

/// How many of each test, unless `CLM_TEST_MANIPULATIONS` says otherwise.
const MANIPULATIONS: u32 = 5_000;

/// Tables, what they call a row in faults, and what a copied row needs anew to be let in.
const TABLES: [(&str, &str, &str, &[&str]); 9] = [
    ("secure_audit_log", "chain", "id", &["id"]),
    (
        "certificates",
        "certificate",
        "certificate_id",
        &["id", "certificate_id", "operation_id", "serial_number", "fingerprint_sha256"],
    ),
    ("certificate_revocations", "revocation", "id", &["id", "operation_id", "certificate_id"]),
    ("private_keys", "private_key", "id", &["id", "certificate_id"]),
    ("encryption_keys", "encryption_key", "id", &["id", "key_identifier", "key_version"]),
    ("certificate_authorities", "authority", "id", &["id", "name", "certificate_id"]),
    ("blocked_keys", "blocked_key", "id", &["id", "public_key_sha256"]),
    ("audit_keys", "audit_key", "id", &["id", "key_reference"]),
    ("audit_checkpoints", "audit_checkpoint", "id", &["id", "sequence"]),
];

/// Tables with a copy of an earlier moment.
const BACKED_UP: [&str; 7] = [
    "secure_audit_log",
    "certificates",
    "certificate_revocations",
    "private_keys",
    "encryption_keys",
    "audit_checkpoints",
    "chain_heads",
];

/// What is done to the database, and what must be named.
#[derive(Debug)]
struct Manipulation {
    what: String,
    sql: Vec<String>,
    /// Kind and id of a row; none when the chain or a checkpoint must be named.
    named: Option<(String, String)>,
}

struct Manipulator {
    entropy: Entropy,
    /// Table, column, type.
    columns: Vec<(usize, String, String)>,
}

impl Manipulator {
    fn below(&self, limit: usize) -> usize {
        usize::from(u16::from_be_bytes(self.entropy.bytes())) % limit
    }

    async fn next(&self, conn: &mut PgConnection) -> Manipulation {
        match self.below(20) {
            0..=7 => self.flip(conn).await,
            8..=10 => self.delete(conn).await,
            11..=12 => self.swap(conn).await,
            13..=15 => self.insert(conn).await,
            16 => self.cut(),
            17 => self.roll_back(),
            18 => Manipulation {
                what: "a partition is detached".into(),
                sql: vec!["DO $$ BEGIN EXECUTE format('ALTER TABLE secure_audit_log DETACH PARTITION %s',
                    (SELECT tableoid::regclass FROM secure_audit_log ORDER BY sequence DESC LIMIT 1)); END $$".into()],
                named: None,
            },
            _ => Manipulation {
                what: "every checkpoint is deleted".into(),
                sql: vec!["DELETE FROM audit_checkpoints".into()],
                named: None,
            },
        }
    }

    /// A table, and two of its rows by their key.
    async fn rows(&self, conn: &mut PgConnection) -> (usize, Vec<String>) {
        loop {
            let table = self.below(TABLES.len());
            let (name, _, key, _) = TABLES[table];
            let sql = format!(
                "SELECT {key}::text FROM {name} ORDER BY md5({key}::text || {}) LIMIT 2",
                self.below(60_000)
            );
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.unwrap();
            if !rows.is_empty() {
                return (table, rows);
            }
        }
    }

    fn named(table: usize, row: &str) -> Option<(String, String)> {
        let kind = TABLES[table].1;
        (kind != "chain").then(|| (kind.to_owned(), row.to_owned()))
    }

    async fn flip(&self, conn: &mut PgConnection) -> Manipulation {
        let (table, rows) = self.rows(conn).await;
        let of_table: Vec<_> = self.columns.iter().filter(|column| column.0 == table).collect();
        let (_, column, kind) = of_table[self.below(of_table.len())];
        let at = self.below(60_000);
        let changed = match kind.as_str() {
            "bytea" => format!(
                "set_byte({column}, {at} % length({column}), get_byte({column}, {at} % length({column})) # (1 << {}))",
                at % 8
            ),
            "text" => format!(
                "overlay({column} placing chr(ascii(substr({column}, 1 + {at} % length({column}), 1)) # 1) from 1 + {at} % length({column}) for 1)"
            ),
            "uuid" => format!(
                "overlay({column}::text placing translate(substr({column}::text, 36, 1), '0123456789abcdef', '1032547698badcfe') from 36 for 1)::uuid"
            ),
            "timestamptz" => format!("{column} + interval '1 microsecond'"),
            "bool" => format!("NOT {column}"),
            "jsonb" => format!("jsonb_build_object('was', {column})"),
            _ => format!("{column} # 1"),
        };
        let (name, _, key, _) = TABLES[table];
        let sql = format!(
            "UPDATE {name} SET {column} = {changed} WHERE {key} = '{}' AND {column} IS NOT NULL",
            rows[0]
        );
        Manipulation {
            what: format!("{name}.{column} is flipped"),
            sql: vec![sql],
            named: Self::named(table, &rows[0]),
        }
    }

    async fn delete(&self, conn: &mut PgConnection) -> Manipulation {
        let (table, rows) = self.rows(conn).await;
        let (name, _, key, _) = TABLES[table];
        let sql = format!("DELETE FROM {name} WHERE {key} = '{}'", rows[0]);
        Manipulation {
            what: format!("a row of {name} is deleted"),
            sql: vec![sql],
            named: Self::named(table, &rows[0]),
        }
    }

    /// Two rows change places: each gets the key of the other.
    async fn swap(&self, conn: &mut PgConnection) -> Manipulation {
        let (table, rows) = loop {
            let (table, rows) = self.rows(conn).await;
            if rows.len() == 2 {
                break (table, rows);
            }
        };
        let (name, _, key, _) = TABLES[table];
        let (one, other) = (&rows[0], &rows[1]);
        let spare = "01900000-0000-7000-8000-000000000000";
        let set = |from: &str, to: &str| format!("UPDATE swapped SET {key} = '{to}' WHERE {key} = '{from}'");
        Manipulation {
            what: format!("two rows of {name} are swapped"),
            sql: vec![
                format!(
                    "CREATE TEMP TABLE swapped AS SELECT * FROM {name} WHERE {key} IN ('{one}', '{other}')"
                ),
                format!("DELETE FROM {name} WHERE {key} IN ('{one}', '{other}')"),
                set(one, spare),
                set(other, one),
                set(spare, other),
                format!("INSERT INTO {name} SELECT * FROM swapped"),
                "DROP TABLE swapped".into(),
            ],
            named: Self::named(table, one),
        }
    }

    async fn insert(&self, conn: &mut PgConnection) -> Manipulation {
        let (table, rows) = self.rows(conn).await;
        let (name, _, key, anew) = TABLES[table];
        let id = uuid::Uuid::now_v7().to_string();
        let fresh = anew.iter().map(|column| match *column {
            "serial_number" | "fingerprint_sha256" | "public_key_sha256" => {
                format!("'{column}', '\\x{}'", hex::encode(self.entropy.bytes::<32>()))
            }
            "key_version" | "sequence" => format!("'{column}', {}", 1_000 + self.below(60_000)),
            "key_identifier" | "name" | "key_reference" => {
                format!("'{column}', 'new-{}'", self.below(60_000))
            }
            column => format!(
                "'{column}', '{}'",
                if column == key { id.clone() } else { uuid::Uuid::now_v7().to_string() }
            ),
        });
        let fresh = fresh.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO {name} SELECT (jsonb_populate_record(l, jsonb_build_object({fresh}))).* FROM {name} l WHERE {key} = '{}'",
            rows[0]
        );
        Manipulation {
            what: format!("a row is put into {name}"),
            sql: vec![sql],
            named: Self::named(table, &id),
        }
    }

    /// The end of the log is cut; with luck the head is set back, and what was signed since is deleted.
    fn cut(&self) -> Manipulation {
        let last = format!("(SELECT max(sequence) - {} FROM secure_audit_log)", self.below(30));
        let mut sql = vec![format!("CREATE TEMP TABLE cut AS SELECT {last} AS after")];
        sql.push("DELETE FROM secure_audit_log WHERE sequence >= (SELECT after FROM cut)".into());
        if self.below(3) > 0 {
            sql.push("UPDATE chain_heads SET (sequence, chain_hash) = (SELECT sequence, chain_hash FROM secure_audit_log ORDER BY sequence DESC LIMIT 1) WHERE name = 'audit'".into());
        }
        if self.below(2) > 0 {
            sql.push("DELETE FROM audit_checkpoints WHERE sequence >= (SELECT after FROM cut)".into());
        }
        sql.push("DROP TABLE cut".into());
        Manipulation { what: "the tail is cut".into(), sql, named: None }
    }

    /// One table, or all of them, are as they were when the backup was made.
    fn roll_back(&self) -> Manipulation {
        let back = |table: &str| {
            [format!("DELETE FROM {table}"), format!("INSERT INTO {table} SELECT * FROM backup_{table}")]
        };
        let (what, sql) = match BACKED_UP.get(self.below(BACKED_UP.len() + 2)) {
            Some(table) => (format!("{table} is rolled back"), back(table).to_vec()),
            None => {
                ("everything is rolled back".into(), BACKED_UP.iter().flat_map(|table| back(table)).collect())
            }
        };
        Manipulation { what, sql, named: None }
    }
}

async fn superuser(desk: &Desk) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    let mut conn = desk.databases.secure.superuser().await.acquire().await.unwrap();
    sqlx::query("SET session_replication_role = replica").execute(&mut *conn).await.unwrap();
    conn
}

/// Certificates with and without keys, revocations, a hold, checkpoints; with a backup of half of it.
async fn busy(desk: &Desk) -> Vec<AuditCheckpoint> {
    let mut kept = Vec::new();
    for round in 0..2 {
        for source in [KeySource::Csr, KeySource::Csr, KeySource::Generated, KeySource::Generated] {
            let spec = if source == KeySource::Csr { desk.csr_spec() } else { desk.spec(source) };
            let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
            let revocation = RevocationSpec {
                certificate_id: issued.record.certificate_id,
                organization_id: spec.organization_id,
                reason: if source == KeySource::Csr {
                    RevocationReason::CertificateHold
                } else {
                    RevocationReason::KeyCompromise
                },
                invalidity_date: None,
                requested_by: spec.requester_user_id,
                comment: None,
            };
            desk.revoke(&revocation, desk.operation()).await.unwrap();
        }
        kept.push(desk.secure.make_checkpoint(None).await.unwrap().unwrap());
        if round == 0 {
            let mut conn = superuser(desk).await;
            for table in BACKED_UP {
                let sql = format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}");
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
            }
        }
    }
    kept
}

async fn columns(conn: &mut PgConnection) -> Vec<(usize, String, String)> {
    let mut columns = Vec::new();
    for (number, (table, ..)) in TABLES.into_iter().enumerate() {
        let sql =
            "SELECT column_name::text, udt_name::text FROM information_schema.columns WHERE table_name = $1
             AND udt_name IN ('bytea', 'text', 'uuid', 'timestamptz', 'bool', 'jsonb', 'int2', 'int4', 'int8')
             AND NOT (table_name = 'certificate_revocations' AND column_name = 'crl_number')";
        let rows = sqlx::query(sql).bind(table).fetch_all(&mut *conn).await.unwrap();
        columns.extend(rows.into_iter().map(|row| (number, row.get(0), row.get(1))));
    }
    columns
}

/// Whether it could be done at all: some rows do not let themselves be changed so, and some changes change nothing.
async fn done(conn: &mut PgConnection, manipulation: &Manipulation) -> bool {
    let mut rows = 0;
    for sql in &manipulation.sql {
        match sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut *conn).await {
            Ok(outcome) => rows += outcome.rows_affected(),
            Err(error) => {
                let text = error.to_string();
                let refused = [
                    "violates",
                    "no partition",
                    "invalid",
                    "does not exist",
                    "out of range",
                    "null character",
                ];
                assert!(refused.iter().any(|part| text.contains(part)), "{}: {text}", manipulation.what);
                return false;
            }
        }
    }
    rows > 0 || manipulation.what.contains("detached")
}

#[tokio::test]
async fn five_thousand_manipulations_are_found_and_named() {
    all_are_found_and_named(7).await;
}

/// On a database of its own, so that both run at once.
#[tokio::test]
async fn five_thousand_others_are_found_and_named() {
    all_are_found_and_named(8).await;
}

async fn all_are_found_and_named(seed: u64) {
    let desk = Desk::open().await;
    let kept = busy(&desk).await;
    let wanted = std::env::var("CLM_TEST_MANIPULATIONS").map_or(MANIPULATIONS, |text| text.parse().unwrap());
    let mut conn = superuser(&desk).await;
    let clean = verify_all(&mut conn, &kept, |_| {}).await.unwrap();
    assert!(clean.faults.is_empty(), "{:?}", clean.faults);
    sqlx::query("BEGIN").execute(&mut *conn).await.unwrap();
    for table in ["secure_audit_log", "audit_checkpoints", "blocked_keys"] {
        let sql = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
    }
    let manipulator = Manipulator { entropy: Entropy::seeded(seed), columns: columns(&mut conn).await };
    let mut tried = 0;
    while tried < wanted {
        let manipulation = manipulator.next(&mut conn).await;
        sqlx::query("SAVEPOINT before").execute(&mut *conn).await.unwrap();
        if done(&mut conn, &manipulation).await {
            tried += 1;
            let report = verify_all(&mut conn, &kept, |_| {}).await;
            let faults = report
                .map_or_else(|error| vec![error.to_string()], |report| names(&report.faults, &manipulation));
            assert!(!faults.is_empty(), "not named, manipulation {tried}: {manipulation:?}");
        }
        sqlx::query("ROLLBACK TO SAVEPOINT before").execute(&mut *conn).await.unwrap();
    }
    sqlx::query("ROLLBACK").execute(&mut *conn).await.unwrap();
    let clean = verify_all(&mut conn, &kept, |_| {}).await.unwrap();
    assert!(clean.faults.is_empty(), "{:?}", clean.faults);
}

/// The faults that name what was manipulated.
fn names(faults: &[Fault], manipulation: &Manipulation) -> Vec<String> {
    let names = |fault: &&Fault| match (fault, &manipulation.named) {
        (_, None) => true,
        (Fault::Row(row), Some((kind, id))) => row.kind == kind && row.id.to_string() == *id,
        (Fault::Chain(_), Some(_)) => false,
    };
    faults.iter().filter(names).map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_part_of_the_chain_is_verified_by_itself() {
    let desk = Desk::open().await;
    busy(&desk).await;
    let mut conn = superuser(&desk).await;
    sqlx::query("ALTER TABLE secure_audit_log DISABLE TRIGGER USER").execute(&mut *conn).await.unwrap();
    sqlx::query("UPDATE secure_audit_log SET actor = 'user:nobody' WHERE sequence = 5")
        .execute(&mut *conn)
        .await
        .unwrap();
    let seen = |from, to| Range { from, to: Some(to) };
    let (before, over, after) = (seen(1, 4), seen(3, 8), seen(6, 12));
    assert_eq!(verify_chain(&mut conn, before, |_| Ok(())).await.unwrap().unwrap().entries, 4);
    assert_eq!(verify_chain(&mut conn, after, |_| Ok(())).await.unwrap().unwrap().entries, 12);
    let broken = verify_chain(&mut conn, over, |_| Ok(())).await.unwrap().unwrap_err();
    assert_eq!(broken.sequence, 5);
    let beyond = Range { from: 10_000, to: None };
    assert!(verify_chain(&mut conn, beyond, |_| Ok(())).await.unwrap().is_err());
}
