//! A cloud of pretence, for tests and for users' CI.
//!
//! Keystone, Glance, Nova, Neutron and Cinder over real HTTP on loopback, with
//! their states, delays, quotas and manners, and able to fail any request in
//! any way named. It keeps no data: of an upload it remembers length and digest.
//! How the services behave was measured on a real cloud; the conversation tests
//! run against both.

mod compute;
mod identity;
mod image;
mod network;
mod server;
mod state;
mod volume;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    CloudConfig, Service,
    config::{Auth, Domain, Interface, Scope, Tls, Who},
};
use state::State;

/// The user's password, and the application credential's secret.
pub const PASSWORD: &str = "pretence-password";

/// The ID of an application credential that the cloud knows.
pub const APPLICATION_CREDENTIAL: &str = "app-credential-id";

/// How the cloud behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// How long each change of state takes.
    pub delay: Duration,
    /// How long a token lives.
    pub token_life: Duration,
    /// How long a guest runs until it powers off; for ever where not given.
    pub guest: Option<Duration>,
    /// What a guest says while it runs, a line each tenth of that.
    pub console: Vec<String>,
    /// What a guest says that was started without user-data: a system that is
    /// installed. It runs on. Where empty, such guests are like the others.
    pub booted: Vec<String>,
    /// The message of the fault that new servers end with, instead of starting.
    pub fault: Option<String>,
    /// What users are told of new volumes, which end in `error`, instead of being made.
    pub volume_fault: Option<String>,
    /// The most bytes of console that Nova returns.
    pub window: usize,
    /// Whether the console of a stopped server can be read.
    pub console_when_off: bool,
    /// Whether its hypervisor heeds `kernel_id`; where not, such guests find nothing to boot.
    pub starts_kernels: bool,
    /// The most items on a page.
    pub page: usize,
    /// How many servers, volumes, snapshots and ports there may be of each.
    pub quota: usize,
    /// What it says its quotas are, where that is not the truth.
    pub told_quota: Option<usize>,
    /// Services it does not have.
    pub without: Vec<Service>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The second number of Nova's newest microversion.
    pub microversion: u32,
    /// Names, MiB of memory and GiB of disk of its flavors; each has one processor.
    pub flavors: Vec<(String, u64, u64)>,
    /// The names of the project's own networks; the first has the router.
    pub networks: Vec<String>,
    /// Whether their subnets give addresses by DHCP.
    pub dhcp: bool,
    /// Where the router leads to.
    pub router: RouterTo,
}

/// Where a router leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterTo {
    /// To the network `public`.
    Public,
    /// Nowhere: it has no gateway.
    Nowhere,
    /// There is none.
    Missing,
    /// It belongs to somebody else.
    Hidden,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            token_life: Duration::from_hours(1),
            guest: Some(Duration::from_millis(100)),
            console: (1..=10).map(|n| format!("guest line {n}")).collect(),
            booted: Vec::new(),
            fault: None,
            volume_fault: None,
            window: 100 * 1024,
            console_when_off: false,
            starts_kernels: true,
            page: 1000,
            quota: 10,
            told_quota: None,
            without: Vec::new(),
            roles: vec!["member".into()],
            microversion: 93,
            flavors: vec![("tiny".into(), 512, 2), ("build".into(), 1536, 6)],
            networks: vec!["private".into()],
            dhcp: true,
            router: RouterTo::Public,
        }
    }
}

/// A way to fail a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection ends, and nothing is done.
    Refused,
    /// 500, and nothing is done.
    Broken,
    /// 503 with `Retry-After`, and nothing is done.
    Unavailable,
    /// 401, and every token is invalid from now on.
    Expired,
    /// 409, and nothing is done.
    Conflict,
    /// It is done, and there is never an answer.
    NoAnswer,
    /// It is done, and the connection ends.
    ReplyLost,
    /// It is done, and the answer ends in the middle.
    Truncated,
}

impl Fault {
    /// Every way there is.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Broken,
        Self::Unavailable,
        Self::Expired,
        Self::Conflict,
        Self::NoAnswer,
        Self::ReplyLost,
        Self::Truncated,
    ];
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "refused" => Self::Refused,
            "broken" | "500" => Self::Broken,
            "unavailable" | "503" => Self::Unavailable,
            "expired" | "401" => Self::Expired,
            "conflict" | "409" => Self::Conflict,
            "no-answer" => Self::NoAnswer,
            "reply-lost" => Self::ReplyLost,
            "truncated" => Self::Truncated,
            other => {
                return Err(format!(
                    "`{other}` is no way to fail; there are refused, broken (500), unavailable (503), \
                     expired (401), conflict (409), no-answer, reply-lost, truncated"
                ));
            }
        })
    }
}

/// Requests and how they fail, as people write it: `POST /servers=503*2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub when: When,
    /// How.
    pub fault: Fault,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (request, how) = text
            .rsplit_once('=')
            .ok_or_else(|| format!("`{text}` does not say how; write `POST /servers=503`"))?;
        let (how, times) = match how.split_once('*') {
            Some((how, times)) => {
                let times = times.parse();
                (how, times.map_err(|_| format!("`{text}` does not end with a number after `*`"))?)
            }
            None => (how, usize::MAX),
        };
        let (method, path) = request
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}` has no path; write `POST /servers=503`"))?;
        let method = (method != "*").then(|| method.to_uppercase());
        let when = When::Request { method, path: path.trim().to_owned(), times };
        Ok(Self { when, fault: how.trim().parse()? })
    }
}

/// Which requests fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The one with this number; the first is 0.
    Nth(usize),
    /// All from this number on.
    From(usize),
    /// So many whose title contains this, such as `POST /compute/v2.1/servers`.
    Matching(String, usize),
    /// So many that are alike but for the IDs in their paths, which [`alike`]
    /// leaves out.
    Alike(String, usize),
    /// So many of one method whose path contains this.
    Request {
        /// `POST`; any where not given.
        method: Option<String>,
        /// `/servers`
        path: String,
        /// How many.
        times: usize,
    },
}

/// The title of a request without the IDs in its path:
/// `GET /image/v2/images/ID/file`.
pub fn alike(title: &str) -> String {
    let is_id =
        |it: &str| it.len() == 36 && it.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-');
    title.split('/').map(|it| if is_id(it) { "ID" } else { it }).collect::<Vec<_>>().join("/")
}

/// Something that is in the cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// `server`, `port`, `volume` …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its ID.
    pub id: String,
}

/// A cloud of pretence; it ends when this is dropped.
#[derive(Debug)]
pub struct FakeCloud {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    /// The titles of all requests.
    requests: Vec<String>,
    faults: Vec<(When, Fault)>,
}

impl FakeCloud {
    /// Starts one on a free port of loopback.
    pub async fn start(manners: Manners) -> std::io::Result<Self> {
        Self::start_at(manners, 0).await
    }

    /// Starts one on this port of loopback; 0 is any free one.
    pub async fn start_at(manners: Manners, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State::new(&manners));
        let shared = Arc::new(Shared { address, state, control: Mutex::default() });
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving })
    }

    /// How it is reached, as the user with a password.
    pub fn config(&self) -> CloudConfig {
        let domain = Domain::Id("default".into());
        CloudConfig {
            name: "fake".into(),
            auth_url: format!("http://{}/identity/v3", self.address),
            auth: Auth::Password {
                user: Who::Name("builder".into(), domain.clone()),
                password: PASSWORD.into(),
            },
            scope: Scope::Project(Who::Name("builder".into(), domain)),
            region: None,
            interface: Interface::Public,
            endpoints: BTreeMap::new(),
            tls: Tls::default(),
        }
    }

    /// The same, as a `clouds.yaml` in which it is called `fake`.
    pub fn clouds_yaml(&self) -> String {
        format!(
            "clouds:\n  fake:\n    auth:\n      auth_url: http://{}/identity/v3\n      username: builder\n      \
             password: {PASSWORD}\n      project_name: builder\n",
            self.address
        )
    }

    /// Fails requests from now on.
    pub fn fail(&self, when: When, fault: Fault) {
        self.control().faults.push((when, fault));
    }

    /// Fails none any more.
    pub fn heal(&self) {
        self.control().faults.clear();
    }

    /// The requests so far, such as `GET /compute/v2.1/servers/detail`.
    pub fn requests(&self) -> Vec<String> {
        self.control().requests.clone()
    }

    /// The disks that each server was asked for with (block device mappings).
    pub fn devices(&self) -> Vec<Vec<serde_json::Value>> {
        self.state().devices.clone()
    }

    /// Makes a port as its owner would, in use by `device` unless that is empty;
    /// returns its ID.
    pub fn add_port(&self, name: &str, device: &str) -> String {
        network::add_port(&mut self.state(), name, device)
    }

    /// Makes every token invalid.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Everything that users made and that still exists.
    pub fn things(&self) -> Vec<Thing> {
        let mut state = self.state();
        state.tick();
        state.things()
    }

    /// Has the guests of all servers that run switch themselves off.
    pub fn switch_guests_off(&self) {
        compute::switch_guests_off(&mut self.state());
    }

    /// All that the cloud knows of something, by its ID, as its service shows it.
    pub fn record(&self, id: &str) -> Option<serde_json::Value> {
        let mut state = self.state();
        state.tick();
        state.record(id).cloned()
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.shared.control()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Counts a request and says how it fails.
    fn next(&mut self, title: &str) -> Option<Fault> {
        let n = self.requests.len();
        self.requests.push(title.to_owned());
        let hit = self.faults.iter().position(|(when, _)| match when {
            When::Nth(nth) => *nth == n,
            When::From(first) => *first <= n,
            When::Matching(part, times) => *times > 0 && title.contains(part.as_str()),
            When::Alike(same, times) => *times > 0 && alike(title) == *same,
            When::Request { method, path, times } => {
                let (asked, at) = title.split_once(' ').unwrap_or_default();
                *times > 0
                    && method.as_ref().is_none_or(|it| it == asked)
                    && at.contains(path.as_str())
            }
        })?;
        let (when, fault) = &mut self.faults[hit];
        if let When::Matching(_, times) | When::Alike(_, times) | When::Request { times, .. } = when
        {
            *times -= 1;
        }
        Some(*fault)
    }
}

impl Drop for FakeCloud {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_people_write_them() {
        for (text, method, path, times, fault) in [
            ("POST /servers=503", Some("POST"), "/servers", usize::MAX, Fault::Unavailable),
            ("get /images=truncated*2", Some("GET"), "/images", 2, Fault::Truncated),
            ("* /v3/auth/tokens = no-answer", None, "/v3/auth/tokens", usize::MAX, Fault::NoAnswer),
        ] {
            let rule: Rule = text.parse().unwrap();
            let when =
                When::Request { method: method.map(str::to_owned), path: path.into(), times };
            assert_eq!((rule.when, rule.fault), (when, fault), "{text}");
        }
        for (text, part) in [
            ("POST /servers", "does not say how"),
            ("/servers=503", "has no path"),
            ("POST /servers=418", "`418` is no way to fail"),
            ("POST /servers=503*x", "number"),
        ] {
            assert!(text.parse::<Rule>().unwrap_err().contains(part), "{text}");
        }
    }
}
