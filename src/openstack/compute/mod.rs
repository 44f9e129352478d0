//! Nova: flavors, servers, keypairs.
//!
//! <https://docs.openstack.org/api-ref/compute/>

mod new_server;
mod server;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use new_server::server_body;
pub use new_server::{Attachment, Device, MAX_USER_DATA, NewServer};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use server::decide;
pub use server::{Address, Attached, Fault, Server, ServerState, Until};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::Call,
    image::{Images, escape, one},
    release::{Standing, Which, until_gone},
    session::{Session, Version},
    wait::wait,
};

/// Nova.
#[derive(Clone, Copy, Debug)]
pub struct Compute<'a> {
    session: &'a Session,
}

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

fn server_path(id: &str) -> String {
    format!("/servers/{}", escape(id))
}

fn server_action(id: &str, body: Value) -> Call {
    Call::post(Service::Compute, format!("{}/action", server_path(id)), body)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
