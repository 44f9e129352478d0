//! A server as Nova shows it, and when what is waited for has come.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::openstack::{
    Error, body,
    image::null_is_default,
    wait::{Decision, Observation},
};

/// A machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Server {
    /// Its ID.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its state.
    #[serde(default)]
    pub status: ServerState,
    /// What is being done to it.
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    pub task_state: Option<String>,
    /// Nova's inner state.
    #[serde(default, rename = "OS-EXT-STS:vm_state")]
    pub vm_state: Option<String>,
    /// 1 is running, 4 is off.
    #[serde(default, rename = "OS-EXT-STS:power_state")]
    pub power_state: u32,
    /// Why it is in `ERROR`.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Its addresses by network.
    #[serde(default, deserialize_with = "null_is_default")]
    pub addresses: BTreeMap<String, Vec<Address>>,
    /// What it knows of itself.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made; sorts by time.
    #[serde(default)]
    pub created: String,
    /// Its volumes.
    #[serde(
        default,
        rename = "os-extended-volumes:volumes_attached",
        deserialize_with = "null_is_default"
    )]
    pub volumes: Vec<Attached>,
}

/// A volume of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attached {
    /// The volume's ID.
    pub id: String,
}

/// Why a machine is in `ERROR`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// What Nova says.
    #[serde(default)]
    pub message: String,
    /// Like an HTTP status.
    #[serde(default)]
    pub code: u32,
}

/// An address of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// The address.
    pub addr: String,
    /// 4 or 6.
    pub version: u8,
    /// `fixed` or `floating`.
    #[serde(default, rename = "OS-EXT-IPS:type")]
    pub kind: String,
}

macro_rules! states {
    ($($variant:ident $text:literal $about:literal,)*) => {
        /// The state of a machine.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum ServerState {
            $(#[doc = $about] $variant,)*
            /// Anything else.
            Other(String),
            /// Nova did not say.
            #[default]
            Unknown,
        }

        impl From<&str> for ServerState {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    "UNKNOWN" => Self::Unknown,
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl fmt::Display for ServerState {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "UNKNOWN",
                    Self::Other(other) => other,
                })
            }
        }
    };
}

states! {
    Build "BUILD" "It is being made.",
    Active "ACTIVE" "It runs.",
    Shutoff "SHUTOFF" "It is off.",
    Error "ERROR" "It failed; the fault says why.",
    Deleted "DELETED" "It is gone, although still shown.",
    SoftDeleted "SOFT_DELETED" "It will be gone.",
    Paused "PAUSED" "Its processors stand still.",
    Suspended "SUSPENDED" "It sleeps on disk.",
    Rescue "RESCUE" "It runs a rescue image.",
    Reboot "REBOOT" "It starts again.",
    HardReboot "HARD_REBOOT" "It is made to start again.",
    Rebuild "REBUILD" "It is made anew.",
    Resize "RESIZE" "It gets another size.",
    VerifyResize "VERIFY_RESIZE" "Its new size is to be confirmed.",
    Migrating "MIGRATING" "It moves to another hypervisor.",
    Shelved "SHELVED" "It is put away.",
    ShelvedOffloaded "SHELVED_OFFLOADED" "It is put away, off its hypervisor.",
}

impl<'de> Deserialize<'de> for ServerState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}

/// What a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It runs.
    Active,
    /// It is off. A server that is still to start may be waited for, too.
    Off,
    /// It does nothing any more, on or off: a snapshot is done.
    Settled,
}

impl Server {
    /// Whether it is off and nothing is being done to it. `task_state` alone
    /// does not say: between powering off and `SHUTOFF` it is `null` too.
    pub fn is_off(&self) -> bool {
        self.status == ServerState::Shutoff && self.task_state.is_none()
    }

    /// One line for people: `ACTIVE, powering-off`.
    pub fn describe(&self) -> String {
        match &self.task_state {
            Some(task) => format!("{}, {task}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// Whether what a server is waited for has come.
pub(super) fn decide(what: &str, seen: Observation<Server>, until: Until) -> Decision<Server> {
    let ended = |state: String, reason: String| {
        Decision::Fail(Error::Ended { what: what.to_owned(), state, reason })
    };
    let server = match seen {
        Observation::Gone => return ended("gone".into(), "somebody deleted it".into()),
        Observation::Present(server) => server,
    };
    let settled = server.task_state.is_none();
    match (&server.status, until) {
        (ServerState::Error, _) => {
            let fault = server.fault.unwrap_or_default();
            ended("ERROR".into(), body::tidy(&fault.message, &[]))
        }
        (ServerState::Deleted | ServerState::SoftDeleted, _) => {
            ended(server.status.to_string(), String::new())
        }
        (ServerState::Active, Until::Active | Until::Settled) if settled => Decision::Done(server),
        // It was faster than our look.
        (ServerState::Shutoff, Until::Active | Until::Off | Until::Settled) if settled => {
            Decision::Done(server)
        }
        _ => Decision::Continue(server.describe()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(status: &str, task: Option<&str>) -> Server {
        serde_json::from_value(json!({
            "id": "i", "status": status, "OS-EXT-STS:task_state": task, "OS-EXT-STS:power_state": 4,
            "fault": {"message": "No valid host was found.", "code": 500}}))
        .unwrap()
    }

    #[test]
    fn what_looks_finished_may_not_be() {
        let name = |it: &Decision<Server>| match it {
            Decision::Continue(_) => "continue",
            Decision::Done(_) => "done",
            Decision::Fail(_) => "fail",
        };
        for (status, task, until, expected) in [
            ("BUILD", None, Until::Active, "continue"),
            ("ACTIVE", None, Until::Active, "done"),
            ("SHUTOFF", None, Until::Active, "done"),
            ("ACTIVE", Some("powering-off"), Until::Off, "continue"),
            ("ACTIVE", None, Until::Off, "continue"),
            ("SHUTOFF", Some("powering-on"), Until::Off, "continue"),
            ("SHUTOFF", None, Until::Off, "done"),
            ("SHUTOFF", Some("image_snapshot"), Until::Settled, "continue"),
            ("ERROR", None, Until::Off, "fail"),
            ("SOFT_DELETED", None, Until::Off, "fail"),
            ("NEW_STATE", None, Until::Off, "continue"),
        ] {
            let seen = Observation::Present(server(status, task));
            assert_eq!(
                name(&decide("server", seen, until)),
                expected,
                "{status} {task:?} {until:?}"
            );
        }
        let Decision::Fail(err) =
            decide("server `x`", Observation::Present(server("ERROR", None)), Until::Off)
        else {
            panic!()
        };
        assert_eq!(err.to_string(), "server `x` is in state `ERROR`: No valid host was found.");
    }
}
