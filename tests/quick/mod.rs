//! The quick installer as tests use it: a folder with a spec for it, and what
//! is left in it afterwards.

#![expect(unreachable_pub, reason = "shared by several test programs")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A folder of one test, with a spec in it.
pub struct Work {
    pub folder: tempfile::TempDir,
}

impl Work {
    /// A spec for the quick installer; `more` goes behind it.
    pub fn new(variant: &str, more: &str) -> Self {
        Self::with(variant, "", more)
    }

    /// The same, with a further line in the answer file. `{folder}` in `more`
    /// is the test's folder.
    pub fn with(variant: &str, answer: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = option_env!("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let fixture = target.join("quick-installer");
        assert!(fixture.join("linux").is_file(), "run `make quick-installer` first");
        let fixture = fixture.display();
        let more = more.replace("{folder}", &folder.path().to_string_lossy());
        let spec = format!(
            r#"
version = 1
name = "quick"
os = "quick"

[variables.password]
type = "string"
sensitive = true

[source.kernel]
kernel = "{fixture}/linux"
initrd = "{fixture}/initrd.gz"
checksum-file = "{fixture}/SHA256SUMS"

[answer]
text = """
#imgbuild-quick
hostname = quickhost
marker = installed by imgbuild
password = {{{{ password }}}}
variant = {variant}
{answer}
"""

[install]
disk = "256 MiB"
cpus = 1
timeout = "5m"
idle = "15s"
{more}
"#
        );
        fs_err::write(folder.path().join("quick.toml"), spec).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("IMGBUILD_WORK_DIR", self.path("work"))
            // What was found out about the accelerator is the same for all.
            .env("IMGBUILD_CACHE_DIR", std::env::temp_dir().join("imgbuild-test-cache"))
            .env(
                "IMGBUILD_OS_DIR",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quick-installer"),
            )
            .env("IMGBUILD_VAR_password", SECRET)
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null());
        command
    }

    /// Everything that was stored or printed.
    pub fn everything(&self, output: &Output) -> Vec<u8> {
        let mut all = [&output.stdout[..], &output.stderr[..]].concat();
        for file in files_below(self.folder.path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".qcow2") && name != "quick.toml" {
                all.extend(fs_err::read(file).unwrap());
            }
        }
        all
    }

    /// What is in the run's folder, but for logs and reports.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut left = files_below(&self.path("work"));
        left.retain(|it| {
            let name = it.file_name().unwrap().to_string_lossy().into_owned();
            ![".log", "syslog", ".html", ".png", ".jsonl", ".txt"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        left
    }

    /// The folder of its run.
    pub fn run(&self) -> PathBuf {
        let runs = fs_err::read_dir(self.path("work/runs")).unwrap();
        runs.map(|it| it.unwrap().path()).next().unwrap()
    }

    /// QEMU processes that use this folder.
    pub fn machines(&self) -> Vec<u32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
            let line = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("qemu-system") && line.contains(&folder) {
                found.push(id);
            }
        }
        found
    }
}

/// The value of the spec's sensitive variable.
pub const SECRET: &str = "Tr0ub4dor+three";

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|it| {
            let path = it.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
