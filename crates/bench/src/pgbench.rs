//! The ceiling of the database: as many rows of the same size as it takes, one certificate and one
//! audit entry per transaction, by PostgreSQL's own load generator.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clm_local::cluster::Database;
use clm_types::{Clock, Entropy, OrganizationId};
use serde::{Deserialize, Serialize};

use crate::cpu;
use crate::installation::BenchInstallation;
use crate::options::IssueOptions;

/// The role that the service itself logs in as.
const ROLE: &str = "clm_secure_app";

const TABLES: &str = "
CREATE SCHEMA bench;
CREATE TABLE bench.certificates (
    id uuid PRIMARY KEY, serial_number bytea NOT NULL UNIQUE, pem_encoded_cert text NOT NULL,
    der_encoded_cert bytea NOT NULL, attributes text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE bench.audit_log (id uuid PRIMARY KEY, payload text NOT NULL, created_at timestamptz NOT NULL);
GRANT USAGE ON SCHEMA bench TO clm_secure_app;
GRANT INSERT ON bench.certificates, bench.audit_log TO clm_secure_app;";

const SCRIPT: &str = "
BEGIN;
INSERT INTO bench.certificates (id, serial_number, pem_encoded_cert, der_encoded_cert, attributes, created_at)
VALUES (uuid_generate_v7(), uuid_send(gen_random_uuid()), :pem, :der, :attributes, now());
INSERT INTO bench.audit_log (id, payload, created_at) VALUES (uuid_generate_v7(), :payload, now());
COMMIT;
";

/// What the scratch rows hold: a real certificate and its audit entry, filled up to the size of the
/// real rows.
#[derive(Deserialize)]
struct Template {
    pem: String,
    der: String,
    attributes: String,
    payload: String,
}

/// What `pgbench` and the server under it did.
#[derive(Debug, Serialize)]
pub(crate) struct Pgbench {
    /// Without the time to connect.
    pub transactions_per_second: f64,
    pub latency_average_ms: f64,
    pub server_cpu_us_per_transaction: f64,
    pub client_cpu_us_per_transaction: f64,
    /// Processor time of everything else on the machine meanwhile.
    pub others_cpu_seconds: f64,
}

/// Runs it on the secure cluster, with rows like those of `organization_id`.
pub(crate) fn run(
    installation: &BenchInstallation,
    options: &IssueOptions,
    organization_id: OrganizationId,
) -> Result<Pgbench> {
    let template = Template::read(installation, organization_id)?;
    installation.sql(Database::Secure, TABLES)?;
    let mut command = command(installation, options, &template)?;
    let cluster = installation.cluster(Database::Secure);
    let (server, client, machine) =
        (cpu::of_cluster(cluster)?, cpu::of_ended_children()?, cpu::of_machine()?);
    let output = command.output().context("cannot run pgbench")?;
    let client = cpu::of_ended_children()?.0 - client.0;
    let server = cpu::of_cluster(cluster)?.0 - server.0;
    let machine = cpu::of_machine()?.0 - machine.0;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench: {}\n{}\n{text}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let figure = |label: &str| figure(&text, label).with_context(|| format!("pgbench says:\n{text}"));
    let transactions = figure("number of transactions actually processed: ")?;
    Ok(Pgbench {
        transactions_per_second: figure("tps = ")?,
        latency_average_ms: figure("latency average = ")?,
        server_cpu_us_per_transaction: server * 1e6 / transactions,
        client_cpu_us_per_transaction: client * 1e6 / transactions,
        others_cpu_seconds: (machine - server - client).max(0.0),
    })
}

fn command(installation: &BenchInstallation, options: &IssueOptions, template: &Template) -> Result<Command> {
    let script = installation.folder().join("pgbench.sql");
    std::fs::write(&script, SCRIPT)?;
    let credentials =
        installation.credentials(Database::Secure, ROLE, Clock::system().now(), &Entropy::system())?;
    let psql = installation.cluster(Database::Secure).psql_command();
    let mut command = Command::new(std::path::Path::new(psql.get_program()).with_file_name("pgbench"));
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2"]);
    command.arg(format!("--client={}", options.clients)).arg(format!("--time={}", options.seconds));
    command.arg("--file").arg(script);
    let Template { pem, der, attributes, payload } = template;
    for (name, value) in [("pem", pem), ("der", der), ("attributes", attributes), ("payload", payload)] {
        command.arg(format!("--define={name}={value}"));
    }
    command.arg(credentials.url());
    Ok(command)
}

impl Template {
    fn read(installation: &BenchInstallation, organization_id: OrganizationId) -> Result<Self> {
        let text = installation.sql(
            Database::Secure,
            &format!(
                "SELECT json_build_object('pem', pem_encoded_cert, 'der', der_encoded_cert::text,
                    'attributes', rpad('', greatest(1, c.bytes - octet_length(pem_encoded_cert)
                        - octet_length(der_encoded_cert) - 80), md5(c.id::text)),
                    'payload', rpad(a.canonical_payload, greatest(1, a.bytes - 60), md5(a.id::text)))
                FROM (SELECT id, operation_id, organization_id, pem_encoded_cert, der_encoded_cert,
                        pg_column_size(certificates) AS bytes FROM certificates) c
                JOIN (SELECT id, operation_id, action, canonical_payload, pg_column_size(secure_audit_log) AS bytes
                        FROM secure_audit_log) a
                    USING (operation_id)
                WHERE c.organization_id = '{organization_id}' AND a.action = 'certificate.issue' LIMIT 1"
            ),
        )?;
        serde_json::from_str(&text).context("there is no certificate to take for a template")
    }
}

/// The number after `label`.
fn figure(text: &str, label: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split([' ', '/']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_label() {
        let text = "number of transactions actually processed: 1200/1300\nlatency average = 3.951 ms\n\
                    tps = 8093.500000 (without initial connection time)\n";
        assert_eq!(figure(text, "tps = "), Some(8093.5));
        assert_eq!(figure(text, "latency average = "), Some(3.951));
        assert_eq!(figure(text, "number of transactions actually processed: "), Some(1200.0));
        assert_eq!(figure(text, "latency stddev = "), None);
    }
}
