//! `console`: what the machines of a run said, and what they say now.
//!
//! The log that a build writes is followed while the build is at work. Where the
//! build is dead and its server is not, the server's console is read from the
//! cloud, by increments.

use std::{
    collections::BTreeMap,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Surroundings,
    arguments::Console as Arguments,
    failure::{Failure, Plain},
    runs,
};
use crate::{
    CancellationToken,
    console::viewer::viewer,
    engine::{Resource, ResourceKind, State},
    openstack::{
        self, Cloud, Patience,
        compute::{Screen, Server},
        console::Console,
        wait::Backoff,
    },
    runner::folder::RunFolder,
};

/// How often a log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How often a cloud is asked: somebody is watching.
const LOOK_IN_CLOUD: Backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(3));

/// `imgbuild console`
pub(super) async fn console(arguments: &Arguments, cx: &Surroundings) -> Result<(), Failure> {
    let folder = match &arguments.run {
        Some(run) => runs::find(&cx.home, run)?,
        None => runs::all(&cx.home).pop().ok_or_else(|| {
            Failure::usage(Plain::new("there is no run yet", "`imgbuild build` makes one"))
        })?,
    };
    let state = State::read(&folder.join(RunFolder::JOURNAL)).map_err(Failure::failed)?;
    let server = state.held.iter().rev().find(|it| it.kind == ResourceKind::Server).cloned();
    let work = async {
        let mut shown = Shown::default();
        let named = arguments.cloud.as_deref().or(state.cloud.as_deref());
        let server = match server {
            Some(resource) => look_up(named, &resource, &mut shown).await,
            None => None,
        };
        let mut logs = Logs::default();
        let is_running = loop {
            // Looked at first: what is written between the two looks is not lost.
            let is_running = runs::is_running(&folder);
            logs.show(&folder, &mut shown)?;
            if !is_running || arguments.no_follow {
                break is_running;
            }
            tokio::time::sleep(LOOK).await;
        };
        match server {
            Some((cloud, server)) if !is_running => {
                let is_followed = !arguments.no_follow;
                follow(&cloud, &server, logs.last, is_followed, &mut shown).await
            }
            _ => Ok(()),
        }
    };
    tokio::select! {
        done = work => done,
        // Who follows a log ends it so.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// What was printed, so far as it may say how the installer can be looked at.
#[derive(Default)]
struct Shown {
    line: Vec<u8>,
    /// The server's address.
    address: Option<String>,
    /// Only a server can be reached; a machine of QEMU is behind imgbuild.
    is_reachable: bool,
    offered: Option<String>,
}

/// A line is remembered so far.
const LONGEST_LINE: usize = 4096;

impl Shown {
    fn show(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|it| Failure::failed(Plain::io("cannot print the console", it)))?;
        if !self.is_reachable {
            return Ok(());
        }
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            let command = viewer(&line, self.address.as_deref());
            if let Some(command) = command.filter(|it| self.offered.as_ref() != Some(it)) {
                _ = writeln!(std::io::stderr(), "its screen: {command}");
                self.offered = Some(command);
            }
        }
        Ok(())
    }
}

/// The logs of a run's machines, as far as they were shown.
#[derive(Default)]
struct Logs {
    at: BTreeMap<Utf8PathBuf, u64>,
    /// The last text that was shown.
    last: Vec<u8>,
}

/// As much of a log is remembered as Nova returns at most.
const WINDOW: usize = 100 << 10;

impl Logs {
    /// Shows what is new in all logs, the oldest log first.
    fn show(&mut self, folder: &Utf8Path, shown: &mut Shown) -> Result<(), Failure> {
        for path in logs(folder) {
            let failed = |it| Failure::failed(Plain::io(format!("cannot read `{path}`"), it));
            let mut file = match fs_err::File::open(&path) {
                Ok(file) => file,
                Err(it) if it.kind() == std::io::ErrorKind::NotFound => continue,
                Err(it) => return Err(failed(it)),
            };
            let length = file.metadata().map_err(failed)?.len();
            if !self.at.contains_key(&path) && !self.at.is_empty() {
                _ = writeln!(std::io::stderr(), "==> {}", path.file_name().unwrap_or_default());
            }
            let at = self.at.entry(path.clone()).or_default();
            // A stage that is run again begins its log anew.
            if length < *at {
                *at = 0;
            }
            file.seek(SeekFrom::Start(*at)).map_err(failed)?;
            let mut chunk = vec![0; 64 << 10];
            loop {
                let n = file.read(&mut chunk).map_err(failed)?;
                if n == 0 {
                    break;
                }
                *at += n as u64;
                shown.show(&chunk[..n])?;
                self.last.extend_from_slice(&chunk[..n]);
                let excess = self.last.len().saturating_sub(WINDOW);
                self.last.drain(..excess);
            }
        }
        Ok(())
    }
}

/// The logs of a run's machines, in the order they were begun.
fn logs(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = folder.read_dir_utf8() else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|it| it.file_name().starts_with("console") && it.file_name().ends_with(".log"))
        .map(|it| {
            let begun = it.metadata().and_then(|it| it.created().or_else(|_| it.modified())).ok();
            (begun, it.into_path())
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The server of a run in its cloud; says where its screen is. A cloud that
/// cannot be asked does not keep anybody from reading the log.
async fn look_up(
    named: Option<&str>,
    resource: &Resource,
    shown: &mut Shown,
) -> Option<(Cloud, Server)> {
    let mut err = std::io::stderr();
    let found = async {
        let config = openstack::config::load(named).map_err(|it| {
            (it.to_string(), miette::Diagnostic::help(&*it).map(|it| it.to_string()))
        })?;
        let explained = |it: openstack::Error| (it.to_string(), None);
        let patience = Patience { poll: LOOK_IN_CLOUD, ..Patience::default() };
        let cloud = Cloud::new(config, patience, CancellationToken::new()).map_err(explained)?;
        let server = match &resource.id {
            Some(id) => Some(cloud.compute().server(id).await.map_err(explained)?),
            None => cloud.compute().servers_named(&resource.name).await.map_err(explained)?.pop(),
        };
        let server = server.ok_or_else(|| ("it is not there".to_owned(), None))?;
        let screen = cloud.compute().screen(&server.id, Screen::NoVnc).await.map_err(explained)?;
        Ok::<_, (String, Option<String>)>((cloud, server, screen))
    };
    let (cloud, server, screen) = match found.await {
        Ok(found) => found,
        Err((reason, help)) => {
            _ = writeln!(err, "server `{}`: {reason}", resource.name);
            if let Some(help) = help {
                _ = writeln!(err, "  help: {help}");
            }
            return None;
        }
    };
    let addresses = server.addresses.values().flatten();
    let mut addresses: Vec<_> = addresses.filter(|it| it.version == 4).collect();
    // One that is reached from everywhere comes first.
    addresses.sort_by_key(|it| it.kind != "floating");
    shown.address = addresses.first().map(|it| it.addr.clone());
    shown.is_reachable = true;
    _ = writeln!(
        err,
        "server `{}` ({}), {}{}",
        server.name,
        server.id,
        server.describe(),
        shown.address.as_ref().map(|it| format!(", {it}")).unwrap_or_default()
    );
    if let Some(screen) = screen {
        _ = writeln!(err, "noVNC: {screen}");
    }
    Some((cloud, server))
}

/// Shows a server's console until it is off or gone.
async fn follow(
    cloud: &Cloud,
    server: &Server,
    stored: Vec<u8>,
    is_followed: bool,
    shown: &mut Shown,
) -> Result<(), Failure> {
    let mut console = Console::default();
    console.merge(&String::from_utf8_lossy(&stored));
    for pause in cloud.session().patience().poll.pauses() {
        // Its state first: what it said before it went off is read after.
        let now = match cloud.compute().server(&server.id).await {
            Err(it) if it.is_missing() => return Ok(()),
            other => other.map_err(Failure::failed)?,
        };
        if let Some(log) = cloud.compute().console(&server.id).await.map_err(Failure::failed)? {
            let new = console.merge(&log);
            if new.gap && !stored.is_empty() {
                _ = writeln!(std::io::stderr(), "(something between is lost)");
            }
            shown.show(new.text.as_bytes())?;
        }
        if now.is_off() || !is_followed || now.status == openstack::compute::ServerState::Error {
            _ = writeln!(std::io::stderr(), "server `{}` is {}", now.name, now.describe());
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
