//! The ceiling of the disk: one commit after the other.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What PostgreSQL writes at least for a commit: a page of its log.
const PAGE: [u8; 8192] = [7; 8192];

/// Pages per second that are written and known to be on the disk, one at a time, in `folder`.
pub(crate) fn syncs_per_second(folder: &Path, duration: Duration) -> Result<f64> {
    let path = folder.join("disk");
    let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
    file.write_all(&PAGE)?;
    file.sync_all()?;
    let (begin, mut syncs) = (Instant::now(), 0_u32);
    while begin.elapsed() < duration {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&PAGE)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / begin.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
