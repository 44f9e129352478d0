//! Nova: flavors, servers, keypairs.
//!
//! <https://docs.openstack.org/api-ref/compute/>

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::Call,
    image::{Images, escape, null_is_default, one},
    release::{Standing, Which, until_gone},
    session::{Session, Version},
    wait::{Decision, Observation, wait},
};

/// Nova.
#[derive(Clone, Copy, Debug)]
pub struct Compute<'a> {
    session: &'a Session,
}

/// The most characters of base64 that Nova takes as user-data.
pub const MAX_USER_DATA: usize = 65_535;

/// The size of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Flavor {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Processors.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub ram: u64,
    /// The root disk, in GiB; 0 means as large as the image says.
    pub disk: u64,
    /// Whether it is withdrawn.
    #[serde(default, rename = "OS-FLV-DISABLED:disabled")]
    pub disabled: bool,
}

/// A machine to be.
#[derive(Clone, Debug, Default)]
pub struct NewServer {
    /// Its name; unique to the build.
    pub name: String,
    /// The flavor's ID.
    pub flavor: String,
    /// The image it boots, unless a block device is its root.
    pub image: Option<String>,
    /// Its disks; with `image` the root must be among them.
    pub devices: Vec<Device>,
    /// What its metadata service or config drive hands it.
    pub user_data: Option<SecretString>,
    /// Whether it gets a config drive.
    pub config_drive: bool,
    /// The name of its keypair.
    pub keypair: Option<String>,
    /// What it is connected to.
    pub network: Attachment,
    /// Security groups by name or ID; a port has its own.
    pub security_groups: Vec<String>,
    /// Where it runs.
    pub availability_zone: Option<String>,
    /// What it knows of itself.
    pub metadata: BTreeMap<String, String>,
    /// Tags; left out where Nova is older than 2.52.
    pub tags: Vec<String>,
}

/// What a machine is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// The project's only network.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// Networks by ID; Nova makes the ports, and deletes them with the server.
    Networks(Vec<String>),
    /// Ports by ID; they outlive the server.
    Ports(Vec<String>),
}

/// A disk of a machine (block device mapping, version 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "they are nova's names")]
pub struct Device {
    source_type: &'static str,
    destination_type: &'static str,
    boot_index: i32,
    delete_on_termination: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bus: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_type: Option<String>,
}

impl Device {
    /// The flavor's disk with an image on it.
    pub fn local(image: &str) -> Self {
        Self {
            destination_type: "local",
            delete_on_termination: true,
            ..Self::of("image", Some(image))
        }
    }

    /// A volume that is there, and stays.
    pub fn volume(volume: &str) -> Self {
        Self::of("volume", Some(volume))
    }

    /// A new volume of so many GiB with an image on it, deleted with the server.
    pub fn image(image: &str, gib: u64) -> Self {
        Self {
            volume_size: Some(gib),
            delete_on_termination: true,
            ..Self::of("image", Some(image))
        }
    }

    /// A new, empty volume of so many GiB, deleted with the server.
    pub fn blank(gib: u64) -> Self {
        Self { volume_size: Some(gib), delete_on_termination: true, ..Self::of("blank", None) }
    }

    /// As a CD-ROM. Nova refuses that for [`Self::local`].
    #[must_use]
    pub fn cdrom(mut self) -> Self {
        (self.device_type, self.disk_bus) = (Some("cdrom"), Some("ide"));
        self
    }

    /// Tried as the `n`th by the firmware; 0 is the root disk.
    #[must_use]
    pub fn boot(mut self, n: u16) -> Self {
        self.boot_index = n.into();
        self
    }

    /// Whether it goes with the server.
    #[must_use]
    pub fn deleted_with_server(mut self, delete: bool) -> Self {
        self.delete_on_termination = delete;
        self
    }

    /// A volume of this type (Nova 2.67 and later).
    #[must_use]
    pub fn of_type(mut self, volume_type: &str) -> Self {
        self.volume_type = Some(volume_type.to_owned());
        self
    }

    fn of(source_type: &'static str, uuid: Option<&str>) -> Self {
        Self {
            source_type,
            destination_type: "volume",
            boot_index: -1,
            delete_on_termination: false,
            uuid: uuid.map(str::to_owned),
            volume_size: None,
            device_type: None,
            disk_bus: None,
            volume_type: None,
        }
    }
}

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

/// How a remote screen is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// `noVNC` in a browser.
    NoVnc,
    /// The serial console over a websocket.
    Serial,
}

/// A keypair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Keypair {
    /// Its name, unique for a user.
    pub name: String,
    /// `ssh-ed25519 …`
    pub public_key: String,
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

impl<'a> Compute<'a> {
    pub(super) const fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// All flavors that may be used.
    pub async fn flavors(&self) -> Result<Vec<Flavor>, Error> {
        let mut flavors: Vec<Flavor> =
            self.session.list(Call::get(Service::Compute, "/flavors/detail"), "flavors").await?;
        flavors.retain(|it| !it.disabled);
        Ok(flavors)
    }

    /// The flavor of this name or ID.
    pub async fn flavor(&self, name_or_id: &str) -> Result<Flavor, Error> {
        let flavors = self.flavors().await?;
        let known =
            flavors.iter().map(|it| format!("`{}`", it.name)).collect::<Vec<_>>().join(", ");
        if let Some(exact) = flavors.iter().find(|it| it.id == name_or_id) {
            return Ok(exact.clone());
        }
        let found = flavors.into_iter().filter(|it| it.name == name_or_id).collect();
        one("flavor", name_or_id, found, |it| &it.id, || format!("there are {known}"))
    }

    /// Creates a server, or takes the one of that name. It is not waited for.
    pub async fn create_server(&self, new: &NewServer) -> Result<Server, Error> {
        let newest = self.session.newest(Service::Compute).await?.unwrap_or(Version(2, 1));
        let mut call = Call::post(Service::Compute, "/servers", server_body(new, newest)?);
        call = match (&new.network, new.devices.iter().any(|it| it.volume_type.is_some())) {
            (_, true) => call.version(Version(2, 67), Version(2, 67), "a volume type"),
            // Before 2.37 there is no word for these two.
            (Attachment::Auto | Attachment::None, _) => {
                call.version(Version(2, 37), Version(2, 67), "networks `auto` and `none`")
            }
            _ => call.version(Version(2, 1), Version(2, 67), "servers"),
        };
        if let Some(user_data) = &new.user_data {
            call = call
                .withhold(user_data.expose_secret())
                .withhold(&STANDARD.encode(user_data.expose_secret()));
        }
        self.session
            .create(
                async || Ok(self.servers_named(&new.name).await?.into_iter().next()),
                async || self.session.send(&call).await?.read("server"),
            )
            .await
    }

    /// A server by its ID.
    pub async fn server(&self, id: &str) -> Result<Server, Error> {
        self.session.send(&Call::get(Service::Compute, server_path(id))).await?.read("server")
    }

    /// The project's servers of this name, the oldest first.
    pub async fn servers_named(&self, name: &str) -> Result<Vec<Server>, Error> {
        // Nova takes a regular expression.
        let call = Call::get(Service::Compute, "/servers/detail")
            .query("name", format!("^{}$", regex::escape(name)))
            .query("limit", "200");
        let mut servers: Vec<Server> = self.session.list(call, "servers").await?;
        servers.retain(|it| it.name == name);
        servers.sort_by(|a, b| a.created.cmp(&b.created));
        Ok(servers)
    }

    /// Waits for a server.
    pub async fn wait(&self, id: &str, until: Until, deadline: Instant) -> Result<Server, Error> {
        let what = format!("server `{id}`");
        wait(
            &what,
            async || self.server(id).await,
            |seen| decide(&what, seen, until),
            self.session.patience(),
            deadline,
            self.session.cancel(),
        )
        .await
    }

    /// Asks a server to shut down; one that is off already is a success.
    pub async fn stop(&self, id: &str) -> Result<(), Error> {
        self.power(id, "os-stop", |it| {
            it.status == ServerState::Shutoff || it.task_state.as_deref() == Some("powering-off")
        })
        .await
    }

    /// Starts a server; one that runs already is a success.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.power(id, "os-start", |it| {
            it.status == ServerState::Active || it.task_state.as_deref() == Some("powering-on")
        })
        .await
    }

    async fn power(
        &self,
        id: &str,
        action: &str,
        done: impl Fn(&Server) -> bool,
    ) -> Result<(), Error> {
        let act =
            async || self.session.send(&server_action(id, json!({ action: null }))).await.map(drop);
        // What `create` is for creating is right here too: look, ask, look.
        let find = async || Ok(Some(self.server(id).await?).filter(&done).map(drop));
        self.session.create(find, act).await
    }

    /// The last part of the serial console's log; `None` where there is none to
    /// be had now: Nova says 404 of a stopped server, and 409 before the start.
    pub async fn console(&self, id: &str) -> Result<Option<String>, Error> {
        let call = server_action(id, json!({ "os-getConsoleOutput": {} })).repeatable();
        match self.session.send(&call).await {
            Ok(answer) => Ok(Some(answer.json()["output"].as_str().unwrap_or_default().to_owned())),
            Err(err) if err.is_conflict() => Ok(None),
            Err(err) if err.is_missing() => {
                // The same number says that there is no such server.
                self.server(id).await?;
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    /// Counters of the hypervisor, where we may see them and it runs.
    pub async fn diagnostics(&self, id: &str) -> Result<Option<Map<String, Value>>, Error> {
        let call = Call::get(Service::Compute, format!("{}/diagnostics", server_path(id))).version(
            Version(2, 1),
            Version(2, 48),
            "diagnostics",
        );
        match self.session.send(&call).await {
            Ok(answer) => Ok(answer.json().as_object().cloned()),
            Err(err) if matches!(err.status(), Some(400 | 403 | 404 | 409 | 501)) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Where its screen can be seen; `None` where the cloud has no such thing.
    pub async fn screen(&self, id: &str, screen: Screen) -> Result<Option<String>, Error> {
        let (protocol, kind) = match screen {
            Screen::NoVnc => ("vnc", "novnc"),
            Screen::Serial => ("serial", "serial"),
        };
        let body = json!({ "remote_console": { "protocol": protocol, "type": kind } });
        let call =
            Call::post(Service::Compute, format!("{}/remote-consoles", server_path(id)), body)
                .version(Version(2, 6), Version(2, 6), "a remote screen")
                .repeatable();
        match self.session.send(&call).await {
            Ok(answer) => Ok(answer.json()["remote_console"]["url"].as_str().map(str::to_owned)),
            Err(err) if matches!(err.status(), Some(400 | 403 | 404 | 409 | 501)) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Makes an image of a stopped server and returns its ID; takes our image
    /// of that name, if there is one. It is not waited for.
    pub async fn create_image(
        &self,
        id: &str,
        name: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let body = json!({ "createImage": { "name": name, "metadata": metadata } });
        let call =
            server_action(id, body).version(Version(2, 1), Version(2, 45), "an image of a server");
        let images = Images::new(self.session);
        self.session
            .create(
                async || Ok(images.find_by_name(name).await?.map(|it| it.id)),
                async || {
                    let answer = self.session.send(&call).await?;
                    if let Some(id) = answer.json()["image_id"].as_str() {
                        return Ok(id.to_owned());
                    }
                    // Before 2.45 it is the last part of an address.
                    let location = answer.header("location").unwrap_or_default();
                    match location.trim_end_matches('/').rsplit('/').next() {
                        Some(id) if !id.is_empty() => Ok(id.to_owned()),
                        _ => answer.read("image_id"),
                    }
                },
            )
            .await
    }

    /// Deletes servers and waits until they are gone.
    pub async fn release_server(&self, which: Which<'_>, deadline: Instant) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => {
                self.servers_named(name).await?.into_iter().map(|it| it.id).collect()
            }
        };
        for id in ids {
            let delete = async || {
                self.session.send(&Call::delete(Service::Compute, server_path(&id))).await.map(drop)
            };
            let look = async || {
                let server = self.server(&id).await?;
                let state = server.describe();
                Ok(match (&server.status, server.task_state.as_deref()) {
                    (ServerState::Deleted, _) | (_, Some("deleting")) => (Standing::Wait, state),
                    _ => (Standing::Deletable, state),
                })
            };
            match until_gone(self.session, &format!("server `{id}`"), delete, look, deadline).await
            {
                // Where deleted servers are kept for a while, that is the end.
                Err(Error::Late { state, .. }) if state.contains("SOFT_DELETED") => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes a public key known, or takes the keypair of that name and key.
    pub async fn create_keypair(&self, name: &str, public_key: &str) -> Result<Keypair, Error> {
        let body = json!({ "keypair": { "name": name, "public_key": public_key } });
        let call = Call::post(Service::Compute, "/os-keypairs", body);
        let found = self
            .session
            .create(
                async || match self.keypair(name).await {
                    Err(err) if err.is_missing() => Ok(None),
                    other => other.map(Some),
                },
                async || self.session.send(&call).await?.read::<Keypair>("keypair"),
            )
            .await?;
        if found.public_key.trim() != public_key.trim() {
            return Err(Error::Ended {
                what: format!("keypair `{name}`"),
                state: "taken".into(),
                reason: "it has another public key".into(),
            });
        }
        Ok(found)
    }

    /// A keypair by its name.
    pub async fn keypair(&self, name: &str) -> Result<Keypair, Error> {
        let call = Call::get(Service::Compute, format!("/os-keypairs/{}", escape(name)));
        self.session.send(&call).await?.read("keypair")
    }

    /// Forgets a keypair.
    pub async fn release_keypair(&self, name: &str) -> Result<(), Error> {
        let call = Call::delete(Service::Compute, format!("/os-keypairs/{}", escape(name)));
        match self.session.send(&call).await {
            Err(err) if err.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The smallest flavor that has at least this: memory in MiB, disk in GiB. One
/// whose disk is 0 takes any image. Where none has as many processors, one with
/// the most: what runs on two runs on one, only longer.
pub fn smallest(flavors: &[Flavor], vcpus: u32, ram: u64, disk: u64) -> Option<&Flavor> {
    flavors
        .iter()
        .filter(|it| it.ram >= ram && (it.disk >= disk || it.disk == 0))
        .min_by_key(|it| (vcpus.saturating_sub(it.vcpus), it.ram, it.vcpus, it.disk))
}

fn decide(what: &str, seen: Observation<Server>, until: Until) -> Decision<Server> {
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
            ended("ERROR".into(), super::body::tidy(&fault.message, &[]))
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

fn server_body(new: &NewServer, newest: Version) -> Result<Value, Error> {
    let mut server = json!({ "name": new.name, "flavorRef": new.flavor, "metadata": new.metadata });
    let mut set = |key: &str, value: Value| server[key] = value;
    if let Some(image) = &new.image {
        set("imageRef", image.as_str().into());
    }
    if !new.devices.is_empty() {
        set("block_device_mapping_v2", json!(new.devices));
    }
    if let Some(user_data) = &new.user_data {
        let encoded = STANDARD.encode(user_data.expose_secret());
        if encoded.len() > MAX_USER_DATA {
            return Err(Error::UserDataTooLong { length: encoded.len(), max: MAX_USER_DATA });
        }
        set("user_data", encoded.into());
    }
    if new.config_drive {
        set("config_drive", true.into());
    }
    if let Some(keypair) = &new.keypair {
        set("key_name", keypair.as_str().into());
    }
    set(
        "networks",
        match &new.network {
            Attachment::Auto => "auto".into(),
            Attachment::None => "none".into(),
            Attachment::Networks(ids) => ids.iter().map(|it| json!({ "uuid": it })).collect(),
            Attachment::Ports(ids) => ids.iter().map(|it| json!({ "port": it })).collect(),
        },
    );
    if !new.security_groups.is_empty() && !matches!(new.network, Attachment::Ports(_)) {
        set(
            "security_groups",
            new.security_groups.iter().map(|it| json!({ "name": it })).collect(),
        );
    }
    if let Some(zone) = &new.availability_zone {
        set("availability_zone", zone.as_str().into());
    }
    if !new.tags.is_empty() && newest >= Version(2, 52) {
        set("tags", json!(new.tags));
    }
    Ok(json!({ "server": server }))
}

fn server_path(id: &str) -> String {
    format!("/servers/{}", escape(id))
}

fn server_action(id: &str, body: Value) -> Call {
    Call::post(Service::Compute, format!("{}/action", server_path(id)), body)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_smallest_flavor_that_fits_is_taken() {
        let flavor = |name: &str, vcpus, ram, disk| Flavor {
            id: name.into(),
            name: name.into(),
            vcpus,
            ram,
            disk,
            disabled: false,
        };
        let flavors =
            [flavor("big", 4, 8192, 80), flavor("flex", 2, 4096, 0), flavor("small", 1, 512, 2)];
        let name =
            |vcpus, ram, disk| smallest(&flavors, vcpus, ram, disk).map(|it| it.name.as_str());
        assert_eq!(name(1, 512, 2), Some("small"));
        assert_eq!(name(1, 512, 10), Some("flex"));
        assert_eq!(name(4, 512, 10), Some("big"));
        assert_eq!(name(8, 512, 10), Some("big"), "as many processors as there are");
        assert_eq!(name(1, 16_384, 10), None);
    }

    #[test]
    fn user_data_is_measured_before_it_is_sent() {
        let new = |length| NewServer {
            user_data: Some("x".repeat(length).into()),
            ..NewServer::default()
        };
        assert!(server_body(&new(49_149), Version(2, 1)).is_ok());
        assert!(matches!(
            server_body(&new(49_152), Version(2, 1)),
            Err(Error::UserDataTooLong { length: 65_536, .. })
        ));
        assert!(!format!("{:?}", new(5)).contains("xxxxx"));
    }

    #[test]
    fn devices_are_written_as_nova_wants_them() {
        let cdrom = serde_json::to_value(Device::image("iso", 1).cdrom()).unwrap();
        assert_eq!(
            cdrom,
            json!({"source_type": "image", "destination_type": "volume", "boot_index": -1, "uuid": "iso",
                   "delete_on_termination": true, "volume_size": 1, "device_type": "cdrom", "disk_bus": "ide"})
        );
        let root = serde_json::to_value(Device::volume("v").boot(0)).unwrap();
        assert_eq!(root["boot_index"], 0);
        assert_eq!(root["delete_on_termination"], false);
    }
}
