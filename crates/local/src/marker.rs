//! The file that makes a folder ours, and remembers the ports.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files::{read, write_public};
use crate::options::Ports;
use crate::os_user::OsUser;

/// Its name.
pub(crate) const MARKER: &str = "clm-local.json";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    ports: Ports,
}

/// Whether the folder is ours.
pub(crate) fn is_there(folder: &Path) -> bool {
    folder.join(MARKER).is_file()
}

/// The ports that the installation in `folder` used last, if there is one. Whatever of it runs, runs
/// on these.
pub(crate) fn ports(folder: &Path) -> Result<Option<Ports>> {
    if !is_there(folder) {
        return Ok(None);
    }
    let path = folder.join(MARKER);
    let marker: Marker = serde_json::from_str(&read(&path, &OsUser::current()?)?)
        .with_context(|| format!("{} is not a file of clm-local", path.display()))?;
    Ok(Some(marker.ports))
}

/// Makes the folder ours, with these ports.
pub(crate) fn write(folder: &Path, ports: Ports) -> Result<()> {
    let text = serde_json::to_string_pretty(&Marker { format: 1, ports })?;
    write_public(&folder.join(MARKER), text.as_bytes(), &OsUser::current()?)
}
