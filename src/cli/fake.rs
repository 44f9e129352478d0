//! `test --fake-cloud`: an OpenStack of pretence for tests of users' own.

use std::{io::Write as _, time::Duration};

use camino::Utf8Path;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    arguments::Test,
    failure::{Failure, Plain},
};
use crate::openstack::fake::{FakeCloud, Manners};

/// How long each change of state takes: long enough to be seen.
const DELAY: Duration = Duration::from_millis(100);

/// `imgbuild test --fake-cloud`
pub(super) async fn serve(arguments: &Test) -> Result<(), Failure> {
    let mut manners = Manners {
        delay: DELAY,
        guest: Some(arguments.guest.duration()),
        console_when_off: !arguments.forget_console,
        without: arguments.without.clone(),
        quota: arguments.quota,
        token_life: arguments.token_life.duration(),
        ..Manners::default()
    };
    if let Some(path) = &arguments.console {
        manners.console = lines(path)?;
    }
    if let Some(path) = &arguments.booted {
        manners.booted = lines(path)?;
    }
    // Listened for before anybody is told that it serves: who reads that may end it.
    let listen =
        |kind| signal(kind).map_err(|it| Failure::failed(Plain::io("cannot wait for signals", it)));
    let mut interrupts = listen(SignalKind::interrupt())?;
    let mut terminations = listen(SignalKind::terminate())?;
    let cloud = FakeCloud::start_at(manners, arguments.port).await.map_err(|it| {
        Failure::failed(Plain::io(format!("cannot listen on port {}", arguments.port), it))
    })?;
    for rule in &arguments.fail {
        cloud.fail(rule.when.clone(), rule.fault);
    }
    let yaml = cloud.clouds_yaml();
    let mut err = std::io::stderr();
    if let Some(path) = &arguments.clouds_yaml {
        write(path, &yaml)?;
        _ = writeln!(err, "serving; OS_CLIENT_CONFIG_FILE={path} OS_CLOUD=fake; Ctrl-C ends it");
    } else {
        let mut out = crate::ui::stdout();
        _ = write!(out, "{yaml}").and_then(|()| out.flush());
        _ = writeln!(err, "serving; Ctrl-C ends it");
    }
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    Ok(())
}

fn lines(path: &Utf8Path) -> Result<Vec<String>, Failure> {
    let text = fs_err::read(path)
        .map_err(|it| Failure::failed(Plain::io("cannot read what guests say", it)))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// In one step: whoever waits for the file finds all of it.
fn write(path: &Utf8Path, text: &str) -> Result<(), Failure> {
    let failed = |it| Failure::failed(Plain::io(format!("cannot write `{path}`"), it));
    let folder = path.parent().filter(|it| !it.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|it| failed(it.error))?;
    Ok(())
}
