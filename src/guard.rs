//! Programs that die with imgbuild, whatever kills it.
//!
//! A guarded program is started through imgbuild itself: the child asks the
//! kernel to be killed with its parent (`PR_SET_PDEATHSIG`, see prctl(2)) and
//! then becomes the program. No shell, no daemon, no `unsafe`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::ExitCode,
};

use camino::Utf8PathBuf;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// The word that makes imgbuild become another program.
pub const WORD: &str = "__guarded";

/// Starts guarded programs.
#[derive(Clone, Debug)]
pub struct Guard {
    imgbuild: Utf8PathBuf,
}

impl Guard {
    /// Guards through the imgbuild program at this path.
    pub fn new(imgbuild: Utf8PathBuf) -> Self {
        Self { imgbuild }
    }

    /// A command that runs `program` and is killed with this process.
    ///
    /// It gets a process group of its own, so that Ctrl-C reaches imgbuild
    /// alone, which then decides. The death signal follows the *thread* that
    /// starts it: start it from a thread that lives as long as the program, as
    /// the one thread of imgbuild's runtime does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.imgbuild);
        command
            .arg(WORD)
            .arg(getpid().as_raw_nonzero().to_string())
            .arg(program)
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Becomes the program that `arguments` name: the parent's process ID, the
/// program, its arguments. Returns only where that fails.
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = arguments.next().and_then(|it| it.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return ExitCode::from(127);
    };
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::from(126);
    }
    // It may have died before the signal was asked for.
    if getppid() != Some(parent) {
        return ExitCode::from(126);
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
