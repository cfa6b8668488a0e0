//! `clm-local`: a whole installation on one machine.

#![expect(clippy::print_stdout, reason = "standard output is this program's purpose")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clm_local::cluster::Database;
use clm_local::{Installation, Options, OsUser, Ports, State, Status};
use clm_types::{Clock, Entropy};
use comfy_table::{Table, presets};

/// A whole installation on one machine: two PostgreSQL clusters, both services, a sandbox authority.
#[derive(Parser)]
#[command(name = "clm-local", version)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

#[derive(Args)]
struct Place {
    /// Folder of the installation [default: /var/lib/clm-local for root, else
    /// ~/.local/share/clm-local]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Folder of the programs clm-core and clm-secure [default: where clm-local is]
    #[arg(long, global = true)]
    programs: Option<PathBuf>,
    #[command(flatten)]
    ports: PortArguments,
}

/// Each is remembered by the installation.
#[expect(clippy::struct_field_names, reason = "they name the options")]
#[derive(Args)]
#[command(next_help_heading = "Ports on 127.0.0.1")]
struct PortArguments {
    /// Core's database [default: 5432]
    #[arg(long, global = true, value_name = "PORT")]
    core_port: Option<u16>,
    /// Secure's database [default: 5433]
    #[arg(long, global = true, value_name = "PORT")]
    secure_port: Option<u16>,
    /// REST API, HTTPS [default: 8443]
    #[arg(long, global = true, value_name = "PORT")]
    api_port: Option<u16>,
    /// OCSP, CRL and authority certificates, HTTP [default: 8080]
    #[arg(long, global = true, value_name = "PORT")]
    validation_port: Option<u16>,
    /// Secure's listener for Core [default: 7443]
    #[arg(long, global = true, value_name = "PORT")]
    rpc_port: Option<u16>,
    /// Health and metrics of Core [default: 9441]
    #[arg(long, global = true, value_name = "PORT")]
    core_admin_port: Option<u16>,
    /// Health and metrics of Secure [default: 9442]
    #[arg(long, global = true, value_name = "PORT")]
    secure_admin_port: Option<u16>,
}

#[derive(Subcommand)]
enum Action {
    /// Makes and starts everything that does not run yet
    Up,
    /// Stops everything; the data stays
    Down,
    /// Shows what runs, and where
    Status {
        /// How to show it
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Stops everything and deletes all data
    Reset {
        /// Really delete
        #[arg(long)]
        yes: bool,
    },
    /// Prints shell variables for `eval "$(clm-local env)"`
    Env,
    /// Opens psql on a database, read-only unless another role is named
    Psql {
        /// Which database
        #[arg(value_enum)]
        database: DatabaseWord,
        /// Role to log in as [default: clm_core_ro or clm_secure_ro]
        #[arg(long)]
        role: Option<String>,
        /// Arguments for psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum DatabaseWord {
    Core,
    Secure,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("clm-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let installation = Installation::new(arguments.place.options()?)?;
    match arguments.action {
        Action::Up => up(&installation)?,
        Action::Down => installation.down()?,
        Action::Status { output } => return status(&installation, output),
        Action::Reset { yes: true } => installation.reset()?,
        Action::Reset { yes: false } => {
            bail!("this deletes all data in {}: say --yes", installation.folder().display())
        }
        Action::Env => print_env(&installation),
        Action::Psql { database, role, arguments } => return psql(&installation, database, role, &arguments),
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn options(self) -> Result<Options> {
        let folder = match self.dir {
            Some(folder) => std::path::absolute(folder)?,
            None => default_folder()?,
        };
        let programs = match self.programs {
            Some(programs) => std::path::absolute(programs)?,
            None => std::env::current_exe()?.parent().context("clm-local lies in no folder")?.to_owned(),
        };
        let remembered = Installation::ports_of(&folder)?.unwrap_or_default();
        Ok(Options { ports: self.ports.over(remembered), folder, programs, durable: true, throwaway: false })
    }
}

impl PortArguments {
    fn over(&self, ports: Ports) -> Ports {
        Ports {
            core: self.core_port.unwrap_or(ports.core),
            secure: self.secure_port.unwrap_or(ports.secure),
            api: self.api_port.unwrap_or(ports.api),
            validation: self.validation_port.unwrap_or(ports.validation),
            rpc: self.rpc_port.unwrap_or(ports.rpc),
            core_admin: self.core_admin_port.unwrap_or(ports.core_admin),
            secure_admin: self.secure_admin_port.unwrap_or(ports.secure_admin),
        }
    }
}

fn default_folder() -> Result<PathBuf> {
    if OsUser::current()?.uid == 0 {
        return Ok(PathBuf::from("/var/lib/clm-local"));
    }
    let data = match std::env::var_os("XDG_DATA_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            std::env::home_dir().context("there is no home folder: name one with --dir")?.join(".local/share")
        }
    };
    Ok(data.join("clm-local"))
}

fn up(installation: &Installation) -> Result<()> {
    installation.up(Clock::system().now(), &Entropy::system(), |step| {
        eprintln!("{step}");
    })?;
    println!("API             {}", installation.api_url());
    println!("OCSP, CRL       {}", installation.validation_url());
    println!("trust           {}", installation.ca_file().display());
    println!("data            {}", installation.folder().display());
    Ok(())
}

fn status(installation: &Installation, output: Output) -> Result<ExitCode> {
    let status = installation.status();
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Table => println!("{}", table(&status)),
    }
    let all_ready = status.components.iter().all(|component| component.state == State::Ready);
    Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(status: &Status) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["COMPONENT", "STATE", "ADDRESS", "VERSION", "PID"]);
    for component in &status.components {
        table.add_row([
            component.name.clone(),
            component.state.word().to_owned(),
            component.address.clone(),
            component.version.clone().unwrap_or("-".to_owned()),
            component.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        ]);
    }
    table
}

fn print_env(installation: &Installation) {
    let variables = [
        ("CLM_URL", installation.api_url()),
        ("CLM_CA_FILE", installation.ca_file().display().to_string()),
        ("CLM_VALIDATION_URL", installation.validation_url()),
        ("CLM_LOCAL_DIR", installation.folder().display().to_string()),
        ("CLM_CORE_CONFIG", installation.core.config_file().display().to_string()),
        ("CLM_SECURE_CONFIG", installation.secure.config_file().display().to_string()),
    ];
    for (name, value) in variables {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
}

fn psql(
    installation: &Installation,
    database: DatabaseWord,
    role: Option<String>,
    arguments: &[String],
) -> Result<ExitCode> {
    let database = match database {
        DatabaseWord::Core => Database::Core,
        DatabaseWord::Secure => Database::Secure,
    };
    let role = role.unwrap_or_else(|| database.read_only_role().to_owned());
    if !database.login_roles().contains(&role.as_str()) {
        bail!("there is no role {role}: choose one of {}", database.login_roles().join(", "));
    }
    let mut command = installation.psql(database, &role, Clock::system().now(), &Entropy::system())?;
    // Replaces this program, so that signals and the exit code are psql's own.
    Err(command.args(arguments).exec()).context("cannot run psql")
}
