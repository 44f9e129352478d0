//! What an answer file says of itself, with its evidence.

use std::ops::Range;

use crate::catalogue::{Catalogue, Dialect, InstallerKind, Os};

use super::text::line_of;

/// Everything an answer file states, worked out from it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The file's name.
    pub name: String,
    /// Its language.
    pub dialect: Option<Dialect>,
    /// The program that reads it.
    pub installer: Option<InstallerKind>,
    /// The system it is for, by id.
    pub os: Option<Stated<String>>,
    /// The install tree or mirror it names, by URL.
    pub tree: Option<Stated<String>>,
    /// The suite of a Debian mirror, such as `trixie`.
    pub suite: Option<Stated<String>>,
    /// Accounts it gives a password to, and how.
    pub passwords: Vec<Stated<Password>>,
    /// How one can look on while it runs.
    pub remote: Vec<Stated<RemoteView>>,
    /// What happens at the end. Of several the last one counts.
    pub end: Option<Stated<End>>,
    /// Other files it reads, which are not looked into.
    pub includes: Vec<Stated<String>>,
    /// Signs of a template that was not filled in.
    pub residue: Vec<Stated<String>>,
    /// Why it is not clear what the file wants.
    pub doubts: Vec<Stated<String>>,
}

/// Something that is stated at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated<T> {
    /// What is stated.
    pub value: T,
    /// The line, counted from 1; 0 for the file's name.
    pub line: usize,
    /// The bytes of the text.
    pub span: Range<usize>,
    /// What states it, for people.
    pub by: String,
}

impl<T> Stated<T> {
    pub(super) fn new(value: T, text: &str, span: Range<usize>, by: impl Into<String>) -> Self {
        Self { value, line: line_of(text, span.start), span, by: by.into() }
    }
}

/// A password in an answer file. The password itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// Whose: `root`, `vnc`, `network-console`, an account's name.
    pub of: String,
    /// Whether it can be read.
    pub is_plain: bool,
}

/// A way to look on while an installer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteView {
    /// A VNC server in the installer.
    Vnc,
    /// An SSH server in the installer.
    Ssh,
    /// An RDP server in the installer.
    Rdp,
    /// An SSH server that the installer waits for someone to log in to.
    WaitingSsh,
}

/// What an installer does when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It switches the machine off, as a build needs it.
    Poweroff,
    /// It starts the machine again.
    Reboot,
    /// It stops the system and leaves the machine running.
    Halt,
    /// It waits for a key.
    Asks,
}

impl Inspection {
    /// The id of the system it is for, where it says so.
    pub fn os_id(&self) -> Option<String> {
        self.os.as_ref().map(|it| it.value.clone())
    }

    /// What was found and where, a line each, for people.
    pub fn notes(&self) -> Vec<String> {
        let at = |line: usize| match line {
            0 => self.name.clone(),
            line => format!("{}:{line}", self.name),
        };
        let mut notes = Vec::new();
        if let Some(os) = &self.os {
            notes.push(format!("{}: system {} ({})", at(os.line), os.value, os.by));
        }
        if let Some(tree) = &self.tree {
            notes.push(format!("{}: install tree {} ({})", at(tree.line), tree.value, tree.by));
        }
        for remote in &self.remote {
            notes.push(format!("{}: {}", at(remote.line), remote.value.how_to()));
        }
        if let Some(end) = &self.end {
            let what = match end.value {
                End::Poweroff => "switches the machine off at the end",
                End::Reboot => "starts the machine again at the end",
                End::Halt => "halts at the end",
                End::Asks => "waits for a key at the end",
            };
            notes.push(format!("{}: {what} ({})", at(end.line), end.by));
        }
        for include in &self.includes {
            notes.push(format!(
                "{}: reads `{}`, which is not looked into",
                at(include.line),
                include.value
            ));
        }
        for doubt in &self.doubts {
            notes.push(format!("{}: {}", at(doubt.line), doubt.value));
        }
        notes
    }

    /// States the system, unless something better did.
    pub(super) fn state_os(&mut self, os: &Os, text: &str, span: Range<usize>, by: String) {
        if self.os.is_none() {
            self.os = Some(Stated::new(os.id.clone(), text, span, by));
        }
    }

    /// The system in the catalogue.
    pub fn system(&self, catalogue: &Catalogue) -> Option<std::sync::Arc<Os>> {
        catalogue.get(&self.os.as_ref()?.value)
    }
}

impl RemoteView {
    /// What a person does to look on; `IP` is the machine's address.
    fn how_to(self) -> &'static str {
        match self {
            Self::Vnc => "look on with `vncviewer IP:1`",
            Self::Ssh => "look on with `ssh root@IP`",
            Self::Rdp => "look on with an RDP client at IP",
            Self::WaitingSsh => "the installer waits until someone goes on with `ssh installer@IP`",
        }
    }
}
