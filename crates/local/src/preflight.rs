//! What must hold before anything is started: an error here has changed nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::installation::Installation;
use crate::lock::LOCK;
use crate::marker;
use crate::options::Ports;
use crate::os_user::OsUser;
use crate::safe_folder;
use crate::throwaway::is_free;

pub(crate) fn check(installation: &Installation) -> Result<()> {
    OsUser::for_databases()?;
    installation.core.check_program()?;
    installation.secure.check_program()?;
    check_folder(&installation.options.folder)?;
    check_change(installation)?;
    check_ports(installation)
}

fn check_folder(folder: &Path) -> Result<()> {
    if !folder.is_absolute() {
        bail!("{} is not an absolute path: give one with --dir", folder.display());
    }
    safe_folder::check(folder)?;
    if !folder.exists() || marker::is_there(folder) {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot use {}", folder.display()))?;
    // The folder of a test is made before its installation, and the lock before the marker.
    if entries.any(|entry| !entry.is_ok_and(|entry| entry.file_name() == LOCK)) {
        bail!("{} holds other files: choose an empty or new folder with --dir", folder.display());
    }
    Ok(())
}

/// What runs keeps its ports, and what stands in certificates stays.
fn check_change(installation: &Installation) -> Result<()> {
    let new = installation.options.ports;
    let Some(old) = marker::ports(installation.folder())? else { return Ok(()) };
    if new.validation != old.validation && installation.has_issued() {
        bail!(
            "port {} stands in the certificates of this installation, as the address of OCSP and CRL: keep \
             --validation-port {0}, or delete everything with `clm-local reset --yes` and start anew",
            old.validation
        );
    }
    if new != old && installation.runs() {
        bail!(
            "the installation runs on other ports: stop it with `clm-local down`, then choose the new ones"
        );
    }
    Ok(())
}

/// Every port must be free, unless our own process is the one that uses it: then it runs on the
/// ports that it is to have.
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
        Some((_, port, _)) if *port == validation && installation.has_issued() => bail!(
            "port {port} is taken by another program: stop that. No other port will do, it stands in certificates"
        ),
        Some((_, port, option)) => {
            bail!("port {port} is taken by another program: stop that, or choose another port with {option}")
        }
        None => Ok(()),
    }
}
