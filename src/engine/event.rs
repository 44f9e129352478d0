//! What happened, in the past tense.
//!
//! One type serves three readers: the journal keeps the durable events, the
//! JSON-lines reporter prints all of them, the terminal reporter draws them.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

/// Something that happened during a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A build began. The first event of every run.
    BuildStarted {
        /// The version of this format.
        format: u32,
        /// The run's ID, as in the name of its folder.
        run: String,
        /// The image's name.
        name: String,
        /// The digest of everything that goes into it.
        inputs: String,
        /// The names of all stages, in order.
        stages: Vec<String>,
        /// The cloud it is built in, by its name in `clouds.yaml`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cloud: Option<String>,
        /// The ID of the project there that everything belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<String>,
    },
    /// A stage began.
    StageStarted {
        /// Its position in the plan.
        index: usize,
        /// Its name.
        stage: String,
    },
    /// A stage is about to create something.
    Claimed {
        /// What, under which name.
        resource: Resource,
    },
    /// It was created.
    Confirmed {
        /// Which.
        label: String,
        /// The identity it was given.
        id: String,
    },
    /// A stage ended well.
    StageFinished {
        /// Its position in the plan.
        index: usize,
        /// Its name.
        stage: String,
        /// How long it took, in milliseconds.
        millis: u64,
        /// What later stages may ask for.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        output: serde_json::Value,
    },
    /// A stage failed.
    StageFailed {
        /// Its position in the plan.
        index: usize,
        /// Its name.
        stage: String,
        /// How long it ran, in milliseconds; 0 in journals of earlier versions.
        #[serde(default)]
        millis: u64,
        /// The message and its causes, outermost first.
        causes: Vec<String>,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        help: Option<String>,
    },
    /// A resource no longer exists.
    Released {
        /// Which.
        label: String,
    },
    /// A build ended.
    BuildFinished {
        /// `succeeded`, `failed`, `interrupted`.
        outcome: String,
        /// Where the product is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        product: Option<String>,
        /// What could not be given back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leftovers: Vec<Resource>,
    },
    /// The installer reached a phase.
    PhaseReached {
        /// Its name, such as `partitioning`.
        phase: String,
        /// Milliseconds since the machine was started.
        millis: u64,
    },
    /// A stage got further.
    Progress {
        /// What is counted, such as a file's name or `packages`.
        what: String,
        /// How far.
        done: u64,
        /// Out of how many, where known.
        total: Option<u64>,
        /// What is counted in.
        unit: Unit,
    },
    /// A line for people, such as a warning.
    Said {
        /// How important it is.
        level: Level,
        /// The text.
        text: String,
    },
}

/// What progress is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things, such as packages.
    Items,
    /// Hundredths.
    Percent,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something is not as it should be.
    Warning,
}

impl Event {
    /// Whether the journal must hold this before the build goes on.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Self::Progress { .. } | Self::Said { .. })
    }
}

/// Something a build created and is answerable for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name in the plan, unique within a run.
    pub label: String,
    /// What it is, which says who releases it.
    pub kind: ResourceKind,
    /// Its path or its name on the platform, fixed before it is created.
    pub name: String,
    /// Its identity on the platform, once known.
    pub id: Option<String>,
    /// How long it is kept.
    pub lifetime: Lifetime,
}

/// What a resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A file on this machine.
    File,
    /// A folder on this machine, with what is in it.
    Folder,
    /// A QEMU process.
    Machine,
    /// A Nova server.
    Server,
    /// A Neutron port.
    Port,
    /// A Neutron security group.
    SecurityGroup,
    /// A Neutron floating IP.
    FloatingIp,
    /// A Nova keypair.
    Keypair,
    /// A Cinder volume.
    Volume,
    /// A Cinder snapshot.
    Snapshot,
    /// A Glance image.
    Image,
    /// Something that only the program `imgbuild-runner-NAME` can release.
    External(String),
}

/// How long a resource is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Released at the end of every build.
    Scratch,
    /// Released only when the build fails.
    Product,
}

/// Tells the user what is going on. Clones tell the same user, who may have
/// stopped listening.
#[derive(Clone, Debug, Default)]
pub struct Teller(Option<UnboundedSender<Event>>);

impl Teller {
    /// Tells whoever reads the other end.
    pub fn new(sender: UnboundedSender<Event>) -> Self {
        Self(Some(sender))
    }

    /// Tells one event.
    pub fn tell(&self, event: Event) {
        if let Some(sender) = &self.0 {
            _ = sender.send(event);
        }
    }

    /// Tells how many bytes of `what` are done.
    pub fn bytes(&self, what: &str, done: u64, total: Option<u64>) {
        self.tell(Event::Progress { what: what.to_owned(), done, total, unit: Unit::Bytes });
    }

    /// Tells a line.
    pub fn info(&self, text: impl Into<String>) {
        self.tell(Event::Said { level: Level::Info, text: text.into() });
    }

    /// Tells that something is not as it should be.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Said { level: Level::Warning, text: text.into() });
    }
}
