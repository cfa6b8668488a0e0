//! The three configuration files of a cluster.

use std::fmt::Write;

use crate::cluster::ClusterOptions;
use crate::role::certificate_name;

/// The name of the superuser, which may log in only through the socket (and, in a throwaway
/// cluster, by the certificate of the same name).
pub(crate) const SUPERUSER: &str = "postgres";

/// `postgresql.conf`: loopback only, TLS 1.3 only, nothing of a statement's values in the log.
pub(crate) fn postgresql_conf(options: &ClusterOptions) -> String {
    let sockets = quoted(&options.socket_folder().display().to_string());
    let tls = |file: &str| quoted(&options.tls_folder().join(file).display().to_string());
    let (shared_buffers, max_connections) = if options.throwaway { ("64MB", 200) } else { ("256MB", 100) };
    let mut text = format!(
        "# Written by clm-local at each start.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
max_connections = {max_connections}

ssl = on
ssl_min_protocol_version = 'TLSv1.3'
ssl_cert_file = {cert}
ssl_key_file = {key}
ssl_ca_file = {ca}

shared_buffers = {shared_buffers}
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
autovacuum_naptime = 10s
wal_compression = on
idle_in_transaction_session_timeout = '5min'

timezone = 'UTC'
datestyle = 'iso, ymd'
default_text_search_config = 'pg_catalog.english'

logging_collector = on
log_directory = {log}
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_size = 0
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d %a '
log_connections = on
log_disconnections = on
log_lock_waits = on
log_min_duration_statement = 1000
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
",
        port = options.port,
        cert = tls("server.pem"),
        key = tls("server.key"),
        ca = tls("ca.pem"),
        log = quoted(&options.log_folder().display().to_string()),
    );
    if !options.durable {
        // A crash of the server loses nothing even so; one of the machine may.
        text.push_str("\nfsync = off\nfull_page_writes = off\n");
    }
    text
}

/// `pg_hba.conf`: one line per role, nothing for everybody.
pub(crate) fn pg_hba_conf(options: &ClusterOptions) -> String {
    // The databases of tests are copies of the product's, under other names.
    let database = if options.throwaway { "all" } else { options.database.name() };
    let mut text = "# Written by clm-local at each start.\n".to_owned();
    // `all` does not name replication, by which pg_basebackup reads.
    for what in ["all", "replication"] {
        let _ = writeln!(text, "local {what} {SUPERUSER} peer map=os");
    }
    let mut line = |role: &str| {
        let _ = writeln!(text, "hostssl {database} {role} 127.0.0.1/32 cert map=clm");
    };
    for role in options.database.login_roles() {
        line(role);
    }
    if options.throwaway {
        line(SUPERUSER);
    }
    text.push_str("host all all all reject\n");
    text
}

/// `pg_ident.conf`: which certificate is which role.
pub(crate) fn pg_ident_conf(options: &ClusterOptions) -> String {
    let mut text =
        format!("# Written by clm-local at each start.\nos {} {SUPERUSER}\n", options.os_user.name);
    for role in options.database.login_roles() {
        let _ = writeln!(text, "clm {} {role}", certificate_name(role));
    }
    if options.throwaway {
        let _ = writeln!(text, "clm {SUPERUSER} {SUPERUSER}");
    }
    text
}

/// A string of PostgreSQL's configuration language.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
