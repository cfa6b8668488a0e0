//! What must hold before anything is started: an error here has changed nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::installation::{Installation, MARKER};
use crate::options::Ports;
use crate::os_user::OsUser;
use crate::throwaway::is_free;

pub(crate) fn check(installation: &Installation) -> Result<()> {
    OsUser::for_databases()?;
    installation.core.check_program()?;
    installation.secure.check_program()?;
    check_folder(&installation.options.folder)?;
    check_ports(installation)
}

fn check_folder(folder: &Path) -> Result<()> {
    if !folder.is_absolute() {
        bail!("{} is not an absolute path: give one with --dir", folder.display());
    }
    if !folder.exists() || folder.join(MARKER).exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot use {}", folder.display()))?;
    // The folder of a test is made before its installation.
    if entries.next().is_some() {
        bail!("{} holds other files: choose an empty or new folder with --dir", folder.display());
    }
    Ok(())
}

/// Every port must be free, unless our own process is the one that uses it.
fn check_ports(installation: &Installation) -> Result<()> {
    let Ports { core, secure, api, validation, rpc, core_admin, secure_admin } = installation.options.ports;
    let core_runs = installation.core.pid().is_some();
    let secure_runs = installation.secure.pid().is_some();
    let wanted = [
        (installation.databases.core.pid().is_some(), core, "--core-port"),
        (installation.databases.secure.pid().is_some(), secure, "--secure-port"),
        (core_runs, api, "--api-port"),
        (core_runs, validation, "--validation-port"),
        (secure_runs, rpc, "--rpc-port"),
        (core_runs, core_admin, "--core-admin-port"),
        (secure_runs, secure_admin, "--secure-admin-port"),
    ];
    for (index, (_, port, option)) in wanted.iter().enumerate() {
        if let Some((_, _, other)) = wanted.iter().take(index).find(|(_, earlier, _)| earlier == port) {
            bail!("{other} and {option} are both {port}: choose two ports");
        }
    }
    match wanted.iter().find(|(runs, port, _)| !runs && !is_free(*port)) {
        Some((_, port, option)) => {
            bail!("port {port} is taken by another program: stop that, or choose another port with {option}")
        }
        None => Ok(()),
    }
}
