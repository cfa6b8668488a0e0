//! One of the two services as a process.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::files::{make_folder, open_log, read, write_private};
use crate::options::Options;
use crate::os_user::OsUser;
use crate::placement::place;
use crate::process::{Pid, Signal, tail};

const READY_WITHIN: Duration = Duration::from_mins(1);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

/// `clm-core` or `clm-secure` of an installation.
#[derive(Clone, Debug)]
pub struct Service {
    word: &'static str,
    /// Where the program was built.
    built: PathBuf,
    /// Where it is run.
    program: PathBuf,
    folder: PathBuf,
    admin_port: u16,
    os_user: OsUser,
}

impl Service {
    pub(crate) fn new(word: &'static str, options: &Options, admin_port: u16) -> Result<Self> {
        let name = format!("clm-{word}");
        let os_user = OsUser::for_service(&name)?;
        let built = options.programs.join(&name);
        // Who runs everything himself can run the program where it is.
        let is_placed = os_user != OsUser::current()?;
        let program = if is_placed { options.placed_programs().join(&name) } else { built.clone() };
        Ok(Self { word, built, program, folder: options.folder.join(word), admin_port, os_user })
    }

    /// `clm-core` or `clm-secure`.
    pub fn name(&self) -> String {
        format!("clm-{}", self.word)
    }

    /// Who runs it.
    pub fn os_user(&self) -> &OsUser {
        &self.os_user
    }

    /// Its folder, which holds all its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.word))
    }

    /// What it has logged.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.word))
    }

    /// Where it answers `/livez`, `/readyz` and `/metrics`.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// The process, if it runs. Its number is recorded after its start, so whoever was interrupted in
    /// between has left no record.
    pub fn pid(&self) -> Option<Pid> {
        let config = self.config_file().display().to_string();
        let is_ours =
            |pid: &Pid| pid.runs_program(&self.name(), &["serve", &config]) && pid.belongs_to(&self.os_user);
        self.recorded_pid().filter(is_ours).or_else(|| Pid::all().find(is_ours))
    }

    /// What stands in the pid file: perhaps a process that is no more, or another one by now.
    fn recorded_pid(&self) -> Option<Pid> {
        Pid::new(read(&self.pid_file(), &self.os_user).ok()?.trim().parse().ok()?)
    }

    /// What the program says about itself: `1.2.3`.
    pub fn version(&self) -> Result<String> {
        let mut command = self.command();
        self.os_user.run_as(&mut command);
        let output = command.arg("--version").output().with_context(|| self.cannot_run())?;
        let text = String::from_utf8(output.stdout)?;
        text.split_whitespace().nth(1).map(str::to_owned).context("no version")
    }

    /// Fails unless the program is there.
    pub(crate) fn check_program(&self) -> Result<()> {
        if !self.built.is_file() {
            bail!(
                "{} is not there: build the programs first, or name their folder with --programs",
                self.built.display()
            );
        }
        Ok(())
    }

    /// Puts the program where its user can run it.
    pub(crate) fn place_program(&self) -> Result<()> {
        if self.program == self.built {
            return Ok(());
        }
        let folder = self.program.parent().context("the program has no folder")?;
        make_folder(folder, 0o755, &OsUser::current()?)?;
        place(&self.built, &self.program)
    }

    /// Runs one of the program's operator commands as the service's user, with `--config` added, and
    /// gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with_failpoints("", arguments)
    }

    /// As [`Self::run`], with failpoints as in [`Self::start_with_failpoints`].
    pub fn run_with_failpoints(&self, failpoints: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command_with_failpoints(failpoints);
        self.os_user.run_as(&mut command);
        self.finish(command, arguments, &self.config_file())
    }

    /// Runs an operator command as the caller, with a configuration that the service cannot read.
    pub(crate) fn run_as_operator(&self, arguments: &[&str], config: &Path) -> Result<String> {
        self.finish(self.command(), arguments, config)
    }

    fn finish(&self, mut command: Command, arguments: &[&str], config: &Path) -> Result<String> {
        command.args(arguments).arg("--config").arg(config);
        let output = command.output().with_context(|| self.cannot_run())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} {}: {}\n{}", self.name(), arguments.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the process, unless it runs. Once the program, the configuration or a certificate has
    /// changed, the old process is replaced.
    pub fn start(&self) -> Result<()> {
        self.start_with_failpoints("")
    }

    /// Starts with failpoints, as `name=abort` or `name=3*off->abort`; a program without them
    /// ignores this.
    pub fn start_with_failpoints(&self, failpoints: &str) -> Result<()> {
        if let Some(pid) = self.pid() {
            if !self.is_outdated(pid) {
                return Ok(());
            }
            self.stop()?;
        }
        if let Some(pid) = self.recorded_pid().filter(|pid| pid.is_dying()) {
            pid.wait(STOPPED_WITHIN)?;
        }
        let log = open_log(&self.log_file(), &self.os_user)?;
        let mut command = self.command_with_failpoints(failpoints);
        self.os_user.run_as(&mut command);
        command.arg("serve").arg("--config").arg(self.config_file());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Not reached by an interrupt from the keyboard of whoever started it.
        let mut child = command.process_group(0).spawn().with_context(|| self.cannot_run())?;
        write_private(&self.pid_file(), child.id().to_string().as_bytes(), &self.os_user)?;
        // A process can be seen by what it runs only a moment after its start.
        while self.pid().is_none() && child.try_wait()?.is_none() {
            sleep(Duration::from_millis(5));
        }
        // Takes the process's end notice, should it end before us.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Waits until the service can do its work.
    pub fn wait_ready(&self) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let answer = self.readiness();
            if answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return Ok(());
            }
            let problem = match self.pid() {
                None => "has ended".to_owned(),
                Some(_) if Instant::now() > end => {
                    let answer = answer.unwrap_or_else(|error| error.to_string());
                    format!("is not ready after {} s: {}", READY_WITHIN.as_secs(), last_line(&answer))
                }
                Some(_) => {
                    sleep(POLL);
                    continue;
                }
            };
            bail!("{} {problem}\n{}", self.name(), tail(&self.log_file(), &self.os_user));
        }
    }

    /// Whether the service can do its work now.
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    /// Asks the process to end and waits for it; one that does not end is killed, which loses
    /// nothing but time.
    pub fn stop(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        pid.signal(Signal::TERM)?;
        match pid.wait(STOPPED_WITHIN) {
            Ok(()) => self.forget_pid(),
            Err(_) => self.kill(),
        }
    }

    /// Ends the process as a crash would.
    pub fn kill(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        pid.signal(Signal::KILL)?;
        pid.wait(STOPPED_WITHIN)?;
        self.forget_pid()
    }

    /// Waits until the process has ended by itself, as at a failpoint.
    pub fn wait_end(&self, limit: Duration) -> Result<()> {
        match self.pid() {
            Some(pid) => pid.wait(limit),
            None => Ok(()),
        }
    }

    /// The program's environment holds nothing of the caller's.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        command
    }

    fn command_with_failpoints(&self, failpoints: &str) -> Command {
        let mut command = self.command();
        if !failpoints.is_empty() {
            command.env("CLM_FAILPOINTS", failpoints);
        }
        command
    }

    fn readiness(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Whether the program, or a file that it read at its start, is another one by now.
    fn is_outdated(&self, pid: Pid) -> bool {
        self.runs_another_program(pid)
            || self.os_user.act(|| Ok(self.is_older_than_its_files(pid))).unwrap_or(true)
    }

    /// Whether the process runs another file than the program is now. Unknown where a process of
    /// ours hides what it runs: its time decides.
    fn runs_another_program(&self, pid: Pid) -> bool {
        let running = fs::metadata(format!("/proc/{}/exe", pid.number()));
        let program = fs::metadata(&self.program);
        let file = |file: fs::Metadata| (file.dev(), file.ino());
        running.is_ok_and(|running| program.is_ok_and(|program| file(running) != file(program)))
    }

    /// Whether the program or a file changed after the start. One whose start was not recorded may be
    /// older than anything.
    fn is_older_than_its_files(&self, pid: Pid) -> bool {
        let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let Some(started) = modified(&self.pid_file()).filter(|_| self.recorded_pid() == Some(pid)) else {
            return true;
        };
        let tls = fs::read_dir(self.folder.join("tls")).into_iter().flatten().flatten();
        let read = tls.map(|file| file.path()).chain([self.program.clone(), self.config_file()]);
        read.filter_map(|path| modified(&path)).any(|changed| changed > started)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pid", self.word))
    }

    fn forget_pid(&self) -> Result<()> {
        self.os_user.act(|| match fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("cannot remove the pid file")
            }
            _ => Ok(()),
        })
    }

    fn cannot_run(&self) -> String {
        format!("cannot run {}", self.program.display())
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_only_claims_to_be_the_service_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let os_user = OsUser::for_databases().unwrap();
        let service = Service {
            word: "core",
            built: PathBuf::from("/nowhere/clm-core"),
            program: PathBuf::from("/bin/sh"),
            folder: folder.path().to_owned(),
            admin_port: 1,
            os_user: os_user.clone(),
        };
        let mut command = Command::new("/bin/sh");
        os_user.run_as(&mut command);
        command.arg0("/nowhere/clm-core").args(["-c", "read line", "serve"]).arg(service.config_file());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap());
        while service.pid().is_none() {
            sleep(POLL);
        }
        assert_eq!(service.pid(), pid);
        // Not even when the number was recorded.
        fs::write(service.pid_file(), child.id().to_string()).unwrap();
        let stranger = OsUser { uid: os_user.uid + 1, ..os_user };
        assert_eq!(Service { os_user: stranger, ..service.clone() }.pid(), None);

        assert!(!service.runs_another_program(pid.unwrap()));
        let replaced = Service { program: std::env::current_exe().unwrap(), ..service };
        assert!(replaced.runs_another_program(pid.unwrap()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
