//! Processes by number, trusted only after a look at what they run.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{kill_process, test_kill_process};

use crate::files::read_end;
use crate::os_user::OsUser;

const POLL: Duration = Duration::from_millis(20);

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pid(rustix::process::Pid);

impl Pid {
    /// `None` for a number that is no process id.
    pub fn new(number: i32) -> Option<Self> {
        // `from_raw` insists on a number that is not negative.
        rustix::process::Pid::from_raw(number.max(0)).map(Self)
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Every process of the machine.
    pub fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::new(entry.file_name().to_str()?.parse().ok()?))
    }

    /// Whether the process lives and is `program`, started with all of `arguments`. A number out of a
    /// file may belong to another process by now.
    pub fn runs_program(self, program: &str, arguments: &[&str]) -> bool {
        let Ok(command_line) = fs::read(format!("/proc/{}/cmdline", self.number())) else {
            return false;
        };
        let words: Vec<_> = command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let runs = words.first().is_some_and(|first| Path::new(&**first).ends_with(program));
        runs && arguments.iter().all(|argument| words.iter().skip(1).any(|word| word == argument))
    }

    /// Whether the process has all its rights from `user`, and so can be that user's: what it was
    /// started with, everybody could claim.
    pub fn belongs_to(self, user: &OsUser) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.number())).unwrap_or_default();
        // Real, effective, saved and that for files. The owner of the folder in /proc says less: it is
        // root once a process has closed its memory to others.
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let mut ids = ids.split_whitespace().peekable();
        ids.peek().is_some() && ids.all(|id| id.parse() == Ok(user.uid))
    }

    /// Whether the process lives; a zombie does not, once all its threads have ended.
    pub fn is_alive(self) -> bool {
        match self.state() {
            None => false,
            Some('Z') => self.is_dying(),
            Some(_) => test_kill_process(self.0).is_ok(),
        }
    }

    /// Whether the process has ended but for threads that still hold its ports and files.
    pub fn is_dying(self) -> bool {
        let threads = || fs::read_dir(format!("/proc/{}/task", self.number())).map_or(0, Iterator::count);
        self.state() == Some('Z') && threads() > 1
    }

    fn state(self) -> Option<char> {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.number())).ok()?;
        // The name in parentheses may contain anything, so count from its end.
        status.rsplit(')').next()?.trim_start().chars().next()
    }

    /// Sends `signal`.
    pub fn signal(self, signal: Signal) -> Result<()> {
        kill_process(self.0, signal).with_context(|| format!("cannot signal process {}", self.number()))
    }

    /// Waits until the process is gone.
    pub fn wait(self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > end {
                bail!("process {} has not ended after {} s", self.number(), limit.as_secs());
            }
            sleep(POLL);
        }
        Ok(())
    }
}

/// The last lines of a log file of `owner`, for error messages.
pub fn tail(path: &Path, owner: &OsUser) -> String {
    let text = read_end(path, owner).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_number_of_another_program_is_not_trusted() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        while !pid.runs_program("sleep", &["30"]) {
            sleep(POLL);
        }
        assert!(Pid::all().any(|other| other == pid));
        assert!(!pid.runs_program("sleep", &["30", "31"]));
        assert!(!pid.runs_program("postgres", &["30"]));
        pid.signal(Signal::KILL).unwrap();
        pid.wait(Duration::from_secs(5)).unwrap();
        assert!(!pid.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_of_another_user_is_not_trusted() {
        let user = OsUser::for_databases().unwrap();
        let mut command = Command::new("sleep");
        user.run_as(&mut command);
        let mut child = command.arg("30").spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(pid.belongs_to(&user));
        assert!(!pid.belongs_to(&OsUser { uid: user.uid + 1, ..user.clone() }));
        assert_eq!(pid.belongs_to(&OsUser::current().unwrap()), user == OsUser::current().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!pid.belongs_to(&user));
    }

    #[test]
    fn nonsense_is_no_process_id() {
        assert!(Pid::new(0).is_none());
        assert!(Pid::new(-1).is_none());
    }
}
