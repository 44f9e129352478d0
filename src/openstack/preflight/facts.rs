//! What a cloud says of itself, as far as a build asks. Nothing is changed.

use std::{collections::BTreeMap, time::Duration};

use miette::Diagnostic as _;
use tokio::time::Instant;

use super::{
    super::{
        Cloud, Error, Service,
        compute::Flavor,
        config::Auth,
        image::Image,
        limits::{self, Limits},
        network::{Network, Port, Subnet},
        session::Version,
        volume::Snapshot,
    },
    Wanted, network,
};

/// Something that could not be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// What happened.
    pub text: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// The HTTP status, where a service answered.
    pub status: Option<u16>,
    /// Whether the catalogue does not have the service at all.
    pub is_absent: bool,
}

impl From<&Error> for Problem {
    fn from(err: &Error) -> Self {
        let mut text = err.to_string();
        let mut cause = std::error::Error::source(err);
        while let Some(it) = cause {
            text = format!("{text}: {it}");
            cause = it.source();
        }
        Self {
            text,
            help: err.help().map(|it| it.to_string()),
            status: err.status(),
            is_absent: matches!(err, Error::NoService { .. }),
        }
    }
}

/// Who we are in the cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The project's ID; none where the token is for no project.
    pub project: Option<String>,
    /// The names of our roles in it.
    pub roles: Vec<String>,
    /// How long the token lives still.
    pub life: Duration,
    /// Whether it can be had anew.
    pub is_renewable: bool,
}

/// How a service answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Where.
    pub url: String,
    /// Its newest microversion, where it has them.
    pub newest: Option<Version>,
}

/// Where the servers of a build are connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// What leads out of it.
    pub ways: Vec<Way>,
}

/// A router at a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It leads to the external network of this ID.
    Out(String),
    /// It leads nowhere; its name or ID.
    Nowhere(String),
    /// It belongs to somebody else, who alone sees where it leads.
    Hidden,
}

/// What is known of a cloud.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Who we are.
    pub login: Result<Login, Problem>,
    /// How each service answers.
    pub services: BTreeMap<Service, Result<Served, Problem>>,
    /// What may still be made; what is not told is without limit.
    pub limits: Limits,
    /// Who did not say what may still be made.
    pub silent: BTreeMap<Service, Problem>,
    /// The flavors there are.
    pub flavors: Result<Vec<Flavor>, Problem>,
    /// The networks there are.
    pub networks: Result<Vec<Network>, Problem>,
    /// The network that servers will be connected to, where it is clear which.
    pub site: Option<Result<Site, Problem>>,
    /// The security groups that are wanted.
    pub security_groups: BTreeMap<String, Result<(), Problem>>,
    /// The types of volumes; asked for where one is wanted.
    pub volume_types: Option<Result<Vec<String>, Problem>>,
    /// The image that is wanted: its state.
    pub image: Option<Result<Image, Problem>>,
    /// The port that is wanted.
    pub port: Option<Result<Port, Problem>>,
    /// The snapshot that is wanted.
    pub snapshot: Option<Result<Snapshot, Problem>>,
}

impl Default for Facts {
    /// Nothing is known, and nothing wrong.
    fn default() -> Self {
        Self {
            login: Ok(Login::default()),
            services: BTreeMap::new(),
            limits: Limits::default(),
            silent: BTreeMap::new(),
            flavors: Ok(Vec::new()),
            networks: Ok(Vec::new()),
            site: None,
            security_groups: BTreeMap::new(),
            volume_types: None,
            image: None,
            port: None,
            snapshot: None,
        }
    }
}

impl Facts {
    /// Whether the service is there and answers.
    pub fn serves(&self, service: Service) -> bool {
        matches!(self.services.get(&service), Some(Ok(_)))
    }
}

/// Asks the cloud for everything that a build's wishes depend on.
pub async fn gather(cloud: &Cloud, wanted: &Wanted) -> Result<Facts, Error> {
    let session = cloud.session();
    let login = fact(session.token().await)?.map(|token| Login {
        project: token.project.clone(),
        roles: token.roles.clone(),
        life: token.expires_at().saturating_duration_since(Instant::now()),
        is_renewable: !matches!(session.cloud().auth, Auth::Token(_)),
    });
    let mut facts = Facts { login, ..Facts::default() };
    if facts.login.is_err() {
        return Ok(facts);
    }
    for service in Service::ALL {
        let served = async {
            let newest = session.newest(service).await?;
            Ok(Served { url: session.url(service).await?, newest })
        };
        let served = fact(served.await)?;
        if served.is_ok()
            && let Err(problem) = fact(limits::add(session, service, &mut facts.limits).await)?
        {
            facts.silent.insert(service, problem);
        }
        facts.services.insert(service, served);
    }
    if facts.serves(Service::Compute) {
        facts.flavors = fact(cloud.compute().flavors().await)?;
    }
    if facts.serves(Service::Network) {
        facts.networks = fact(cloud.networks().networks().await)?;
        if let Some(port) = &wanted.port {
            facts.port = Some(fact(cloud.networks().port(port).await)?);
        }
        if let Ok(Some(network)) = network(&facts, wanted) {
            let id = network.id.clone();
            facts.site = Some(fact(site(cloud, &id).await)?);
        }
        for group in &wanted.security_groups {
            let found = fact(cloud.networks().security_group(group).await.map(drop))?;
            facts.security_groups.insert(group.clone(), found);
        }
    }
    if facts.serves(Service::Volume) {
        if wanted.volume_type.is_some() {
            facts.volume_types = Some(fact(cloud.volumes().types().await)?);
        }
        if let Some(id) = &wanted.snapshot {
            facts.snapshot = Some(fact(cloud.volumes().find_snapshot(id).await)?);
        }
    }
    if facts.serves(Service::Image)
        && let Some(image) = &wanted.image
    {
        facts.image = Some(fact(cloud.images().find(image).await)?);
    }
    Ok(facts)
}

/// What surrounds a network.
async fn site(cloud: &Cloud, network: &str) -> Result<Site, Error> {
    let networks = cloud.networks();
    let subnets = networks.subnets(network).await?;
    let ports = networks.ports_of(network).await?;
    let mut routers: Vec<_> = ports
        .iter()
        .filter(|it| is_router(&it.device_owner))
        .map(|it| it.device_id.as_str())
        .collect();
    routers.sort_unstable();
    routers.dedup();
    let mut ways = Vec::new();
    for id in routers {
        ways.push(match networks.router(id).await {
            Ok(router) => match router.external_gateway_info {
                Some(it) => Way::Out(it.network_id),
                None if router.name.is_empty() => Way::Nowhere(router.id),
                None => Way::Nowhere(router.name),
            },
            Err(err) if matches!(err.status(), Some(403 | 404)) => Way::Hidden,
            Err(err) => return Err(err),
        });
    }
    Ok(Site { subnets, ways })
}

/// The owners of a router's inner ports: one of a single node, one that is
/// there twice, one that is spread over the hypervisors.
fn is_router(owner: &str) -> bool {
    matches!(
        owner,
        "network:router_interface"
            | "network:ha_router_replicated_interface"
            | "network:router_interface_distributed"
    )
}

/// A failure is a fact; only the user's wish to stop is none.
fn fact<T>(result: Result<T, Error>) -> Result<Result<T, Problem>, Error> {
    match result {
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(err) => Ok(Err(Problem::from(&err))),
        Ok(it) => Ok(Ok(it)),
    }
}
