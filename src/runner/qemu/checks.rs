//! Checks in a guest that runs: files, packages and services that it has to have.
//!
//! Each is a short script for `sh` that asks whatever the system has (dpkg or rpm,
//! systemd or `service`), prints what it found, and ends with 0 where that is right.

use std::process::Stdio;

use super::{Checked, QemuRunner, guest::GuestError, ssh::Reach};
use crate::{
    CancellationToken,
    engine::{StageError, Teller},
    model::{GuestCheck, SshAccess},
};

/// Characters of an answer that are kept.
const LONGEST_ANSWER: usize = 200;

impl QemuRunner {
    /// Makes every check, whatever comes of the others, and fails if one did.
    pub(in crate::runner) async fn check(
        &self,
        access: &SshAccess,
        reach: &Reach,
        teller: &Teller,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        let mut failed = Vec::new();
        for check in &access.checks {
            let mut ssh = self.ssh(&access.user, reach);
            let script = format!("sh -c {}", shell_words::quote(&script(check)));
            ssh.arg(script).stdin(Stdio::null()).kill_on_drop(true);
            let output = tokio::select! {
                () = cancel.cancelled() => return Err(StageError::Cancelled),
                output = ssh.output() => output.map_err(|it| StageError::of(GuestError::NoKey(it)))?,
            };
            let is_good = output.status.success();
            let found = answer(&output.stdout)
                .or_else(|| answer(&output.stderr))
                .unwrap_or_else(|| "nothing was answered".to_owned());
            let result = self.context.redactor.mask(&found);
            let name = check.to_string();
            teller.info(format!("{name} {result}"));
            if !is_good {
                failed.push(format!("{name} {result}"));
            }
            self.observed.borrow_mut().checks.push(Checked { name, result, is_good });
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(StageError::of(GuestError::Lacking { failed: failed.join("; ") }))
    }
}

/// The last line that says something.
fn answer(output: &[u8]) -> Option<String> {
    let text = crate::console::plain_text(output);
    let line = text.lines().map(str::trim).rfind(|it| !it.is_empty())?;
    Some(line.chars().take(LONGEST_ANSWER).collect())
}

const FILE: &str = r#"
if [ -e "$n" ]; then echo "is there"; else echo "is not there"; exit 1; fi
"#;

const PACKAGE: &str = r#"
if command -v dpkg-query >/dev/null 2>&1; then
    v=$(dpkg-query -W -f '${Status} ${Version}\n' "$n" 2>/dev/null | sed -n 's/^[a-z]* ok installed //p' | head -n 1)
elif command -v rpm >/dev/null 2>&1; then
    v=$(rpm -q --qf '%{VERSION}-%{RELEASE}\n' "$n" 2>/dev/null) || v=
    v=$(echo "$v" | head -n 1)
else
    echo "cannot be looked for: there is neither dpkg nor rpm"
    exit 1
fi
if [ -n "$v" ]; then echo "is installed, $v"; else echo "is not installed"; exit 1; fi
"#;

// A system that has just let us in may still be starting its services.
const SERVICE: &str = r#"
if ! command -v systemctl >/dev/null 2>&1; then
    if service "$n" status >/dev/null 2>&1; then echo "runs"; else echo "does not run"; exit 1; fi
    exit 0
fi
case $(systemctl show -p LoadState "$n" 2>/dev/null) in
*=not-found) echo "is not there"; exit 1 ;;
esac
t=0
while :; do
    s=$(systemctl is-active "$n" 2>/dev/null)
    case $s in
    active) echo "is active"; exit 0 ;;
    failed) break ;;
    esac
    case $s-$(systemctl is-system-running 2>/dev/null) in
    activating-* | *-starting | *-initializing) ;;
    *) break ;;
    esac
    [ $t -lt 120 ] || break
    t=$((t + 2))
    sleep 2
done
echo "is ${s:-unknown}"
exit 1
"#;

fn script(check: &GuestCheck) -> String {
    let (name, script) = match check {
        GuestCheck::File(name) => (name, FILE),
        GuestCheck::Package(name) => (name, PACKAGE),
        GuestCheck::Service(name) => (name, SERVICE),
    };
    format!("n={}{script}", shell_words::quote(name))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    /// Runs a check on this machine, with these programs and busybox' or coreutils'.
    fn run(check: &GuestCheck, programs: &[(&str, &str)]) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in programs {
            let path = folder.path().join(name);
            fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in ["sh", "sed", "head", "sleep"] {
            let real = ["/bin", "/usr/bin"].map(|it| std::path::Path::new(it).join(name));
            let real = real.iter().find(|it| it.exists()).unwrap();
            std::os::unix::fs::symlink(real, folder.path().join(name)).unwrap();
        }
        let output = Command::new("/bin/sh")
            .args(["-c", &script(check)])
            .env("PATH", folder.path())
            .output()
            .unwrap();
        (output.status.success(), answer(&output.stdout).unwrap_or_default())
    }

    #[test]
    fn a_file_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's here; $(reboot)");
        fs_err::write(&path, "").unwrap();
        let check = GuestCheck::File(path.to_str().unwrap().to_owned());
        assert_eq!(run(&check, &[]), (true, "is there".to_owned()));
        fs_err::remove_file(&path).unwrap();
        assert_eq!(run(&check, &[]), (false, "is not there".to_owned()));
    }

    #[test]
    fn a_package_is_asked_of_dpkg_or_of_rpm() {
        let check = GuestCheck::Package("tool".to_owned());
        for (program, text, expected) in [
            ("dpkg-query", "echo 'install ok installed 1.2-3'", (true, "is installed, 1.2-3")),
            ("dpkg-query", "echo 'deinstall ok config-files 1.2-3'", (false, "is not installed")),
            ("dpkg-query", "exit 1", (false, "is not installed")),
            ("rpm", "echo 1.2-3.el9", (true, "is installed, 1.2-3.el9")),
            ("rpm", "echo 'package tool is not installed'; exit 1", (false, "is not installed")),
            ("other", "exit 0", (false, "cannot be looked for: there is neither dpkg nor rpm")),
        ] {
            let (is_good, found) = run(&check, &[(program, text)]);
            assert_eq!((is_good, found.as_str()), expected, "{program}: {text}");
        }
    }

    #[test]
    fn a_service_is_asked_of_systemd_or_of_its_script() {
        let check = GuestCheck::Service("tool".to_owned());
        let systemctl = |load: &str, active: &str, system: &str| {
            let text = format!(
                "case $1 in show) echo LoadState={load} ;; is-active) {active} ;; *) echo {system} ;; esac"
            );
            ("systemctl".to_owned(), text)
        };
        // The second time it is asked it is active.
        let soon =
            r#"f=${0%/*}/asked; if [ -e "$f" ]; then echo active; else : >"$f"; echo inactive; fi"#;
        for (program, expected) in [
            (systemctl("loaded", "echo active", "running"), (true, "is active")),
            (systemctl("not-found", "echo inactive", "running"), (false, "is not there")),
            (systemctl("loaded", "echo failed", "degraded"), (false, "is failed")),
            (systemctl("loaded", "echo inactive", "running"), (false, "is inactive")),
            (systemctl("loaded", soon, "starting"), (true, "is active")),
            (("service".to_owned(), "exit 0".to_owned()), (true, "runs")),
            (("service".to_owned(), "exit 3".to_owned()), (false, "does not run")),
        ] {
            let (is_good, found) = run(&check, &[(&program.0, &program.1)]);
            assert_eq!((is_good, found.as_str()), expected, "{program:?}");
        }
    }

    #[test]
    fn of_an_answer_the_last_line_is_kept() {
        assert_eq!(answer(b"warning: x\n\x1b[31mis there\x1b[0m\r\n\n").unwrap(), "is there");
        assert_eq!(answer(b"\n"), None);
    }
}
