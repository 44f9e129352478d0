//! From facts and wishes to findings.

use super::{
    super::{
        Service,
        compute::{Flavor, MAX_USER_DATA, smallest},
        image::ImageState,
        limits::Room,
        session::Version,
        volume::VolumeState,
    },
    Facts, Login, Makes, Problem, Wanted, network,
};
use crate::{platform::Check, units::Span};

/// Everything that was looked at, in the order people read.
pub fn judge(facts: &Facts, wanted: &Wanted) -> Vec<Check> {
    let login = match &facts.login {
        Ok(login) => login,
        Err(problem) => return vec![network::unknown("login", problem)],
    };
    let mut out = vec![of_login(login)];
    out.extend(Service::ALL.into_iter().filter_map(|it| of_service(facts, wanted, it)));
    if facts.serves(Service::Compute) {
        out.push(of_flavor(facts, wanted));
    }
    if facts.serves(Service::Network) {
        network::checks(facts, wanted, &mut out);
        let groups = facts.security_groups.iter().filter_map(|(name, found)| {
            let problem = found.as_ref().err()?;
            Some(network::unknown(&format!("security group {name}"), problem))
        });
        out.extend(groups);
    }
    quotas(facts, wanted, &mut out);
    out.extend(of_user_data(wanted));
    out.extend(of_volume_type(facts, wanted));
    out.extend(of_sources(facts, wanted));
    out
}

/// What the names of findings about quotas begin with.
pub const QUOTA: &str = "quota of";

/// The flavor that a build gets: the one that is wanted, or the smallest that
/// fits. `Err` is the finding.
pub fn flavor<'a>(flavors: &'a [Flavor], wanted: &Wanted) -> Result<&'a Flavor, Check> {
    let disk = if wanted.root_on_volume { 0 } else { wanted.disk };
    let missing = |found: String, remedy: String| Check::missing("flavor", found, remedy);
    let Some(name) = &wanted.flavor else {
        // Nova starts a flavor without a disk from volumes only.
        let fitting: Vec<_> =
            flavors.iter().filter(|it| wanted.root_on_volume || it.disk > 0).cloned().collect();
        let found = smallest(&fitting, wanted.vcpus, wanted.ram, disk).map(|it| it.id.clone());
        return flavors.iter().find(|it| Some(&it.id) == found.as_ref()).ok_or_else(|| {
            missing(
                format!(
                    "none has {} MiB of memory{}",
                    wanted.ram,
                    if disk > 0 { format!(" and {disk} GiB of disk") } else { String::new() }
                ),
                match flavors.len() {
                    0 => "ask the cloud's operators: there are none at all".to_owned(),
                    _ if disk > 0 => format!(
                        "ask for less (`install.memory`, `install.disk`) or use `volume-backed = true`; there are {}",
                        list(flavors)
                    ),
                    _ => format!("ask for less (`install.memory`); there are {}", list(flavors)),
                },
            )
        });
    };
    let by_name: Vec<_> = flavors.iter().filter(|it| it.name == *name).collect();
    let it = match (flavors.iter().find(|it| it.id == *name), by_name.as_slice()) {
        (Some(it), _) => it,
        (None, [it]) => *it,
        (None, []) => {
            return Err(missing(
                format!("there is no flavor `{name}`"),
                format!("there are {}", list(flavors)),
            ));
        }
        (None, several) => {
            let ids: Vec<_> = several.iter().map(|it| it.id.as_str()).collect();
            return Err(missing(
                format!("several flavors are called `{name}`"),
                format!("give an ID: {}", ids.join(", ")),
            ));
        }
    };
    let other = || {
        let better = flavor(flavors, &Wanted { flavor: None, ..wanted.clone() });
        better.map_or_else(
            |_| "ask for less, or ask the cloud's operators for a larger one".to_owned(),
            |it| format!("use `{}`, or leave it out", it.name),
        )
    };
    let name = &it.name;
    if it.ram < wanted.ram {
        return Err(missing(
            format!("`{name}` has {} MiB of memory of {}", it.ram, wanted.ram),
            other(),
        ));
    }
    if disk > 0 && it.disk == 0 {
        return Err(missing(
            format!(
                "`{name}` has no disk of its own, and nova starts such a one from volumes only"
            ),
            "set `volume-backed = true`, or name another flavor".into(),
        ));
    }
    if it.disk < disk {
        return Err(missing(format!("`{name}` has {} GiB of disk of {disk}", it.disk), other()));
    }
    Ok(it)
}

/// As many as are of use in a message.
fn list(flavors: &[Flavor]) -> String {
    const MOST: usize = 8;
    let some = flavors.iter().take(MOST).map(describe).collect::<Vec<_>>().join(", ");
    match flavors.len().saturating_sub(MOST) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

fn describe(flavor: &Flavor) -> String {
    let Flavor { name, vcpus, ram, disk, .. } = flavor;
    format!("`{name}` ({vcpus} CPU, {ram} MiB, {disk} GiB)")
}

fn of_login(login: &Login) -> Check {
    let Some(project) = &login.project else {
        return Check::missing(
            "login",
            "the credentials are for no project",
            "name one: `project_name` in `clouds.yaml`, or `OS_PROJECT_NAME`",
        );
    };
    let roles = login.roles.join(", ");
    let may_only_look = !login.roles.is_empty()
        && login.roles.iter().all(|it| matches!(it.to_lowercase().as_str(), "reader" | "auditor"));
    if may_only_look {
        return Check::missing(
            "login",
            format!("role {roles} in project {project}: it may look and not create"),
            "ask for the role `member` in this project",
        );
    }
    if login.roles.is_empty() {
        return Check::warning(
            "login",
            format!("no role in project {project}"),
            "ask for the role `member` in this project",
        );
    }
    let life = Span::secs(login.life.as_secs() / 60 * 60);
    if !login.is_renewable {
        return Check::warning(
            "login",
            format!("role {roles} in project {project}, by a token that ends in {life}"),
            "use a password or an application credential for builds that take longer",
        );
    }
    Check::good("login", format!("role {roles} in project {project}"))
}

fn of_service(facts: &Facts, wanted: &Wanted, service: Service) -> Option<Check> {
    let name = service.as_str();
    match facts.services.get(&service)? {
        Ok(served) => {
            // Newer than what any cloud in use has, but where the spec asks for more.
            let needed = match service {
                Service::Compute if wanted.volume_type.is_some() && wanted.root_on_volume => {
                    Some((Version(2, 67), "`volume-type`"))
                }
                _ => None,
            };
            let newest = served.newest.map(|it| format!(", {it}")).unwrap_or_default();
            if let Some((needed, purpose)) = needed
                && served.newest.is_none_or(|it| it < needed)
            {
                return Some(Check::missing(
                    name,
                    format!("{}{newest}; {purpose} needs {needed}", served.url),
                    format!("leave {purpose} out"),
                ));
            }
            Some(Check::good(name, format!("{}{newest}", served.url)))
        }
        Err(problem) if problem.is_absent && service == Service::Volume => {
            let needs = wanted.makes.volumes + wanted.makes.snapshots > 0
                || wanted.root_on_volume
                || wanted.snapshot.is_some();
            let found = "this cloud has none";
            Some(if needs {
                Check::missing(name, found, "use the target `glance` and a flavor with a disk")
            } else {
                Check::warning(
                    name,
                    found,
                    "volumes, and install ISOs, cannot be used here; images can",
                )
            })
        }
        Err(problem) => Some(network::unknown(name, problem)),
    }
}

fn of_flavor(facts: &Facts, wanted: &Wanted) -> Check {
    match &facts.flavors {
        Err(problem) => network::unknown("flavor", problem),
        Ok(flavors) => match flavor(flavors, wanted) {
            Ok(it) if it.vcpus < wanted.vcpus => Check::warning(
                "flavor",
                format!("{}, where {} CPUs are asked for", describe(it), wanted.vcpus),
                "it takes longer; name a larger one with `flavor`, if there is one",
            ),
            Ok(it) => Check::good("flavor", describe(it)),
            Err(check) => check,
        },
    }
}

/// What is made, what there is of it, and how much more is wanted.
type Demand = (&'static str, Room, u64);

fn quotas(facts: &Facts, wanted: &Wanted, out: &mut Vec<Check>) {
    let Makes { servers, ports, security_groups, images, volumes, snapshots, gigabytes } =
        wanted.makes;
    let limits = &facts.limits;
    let chosen = facts.flavors.as_ref().ok().and_then(|it| flavor(it, wanted).ok());
    let (vcpus, ram) = chosen.map_or((0, 0), |it| (u64::from(it.vcpus), it.ram));
    let of: [(Service, &[Demand]); 4] = [
        (
            Service::Compute,
            &[
                ("servers", limits.servers, servers),
                ("cores", limits.cores, servers * vcpus),
                ("MiB of memory", limits.ram, servers * ram),
            ],
        ),
        (
            Service::Network,
            &[
                ("ports", limits.ports, ports),
                ("security groups", limits.security_groups, security_groups),
                ("floating IPs", limits.floating_ips, u64::from(wanted.floating_ip.is_some())),
            ],
        ),
        (Service::Image, &[("images", limits.images, images)]),
        (
            Service::Volume,
            &[
                ("volumes", limits.volumes, volumes),
                ("snapshots", limits.snapshots, snapshots),
                ("GiB of volumes", limits.gigabytes, gigabytes),
            ],
        ),
    ];
    for (service, rooms) in of {
        if !facts.serves(service) {
            continue;
        }
        let name = format!("{QUOTA} {service}");
        if let Some(problem) = facts.silent.get(&service) {
            let remedy = "a quota that is used up will be seen only when something is made";
            out.push(Check::warning(&name, problem.text.clone(), remedy));
            continue;
        }
        let full: Vec<_> = rooms
            .iter()
            .filter(|(_, room, more)| !room.fits(*more))
            .map(|(what, room, more)| format!("{} and {more} more are wanted", used(what, *room)))
            .collect();
        if !full.is_empty() {
            let remedy = "give something back (`imgbuild cleanup`), or ask for a larger quota";
            out.push(Check::missing(&name, full.join("; "), remedy));
            continue;
        }
        let told: Vec<_> = rooms
            .iter()
            .filter(|(_, room, _)| room.limit.is_some())
            .map(|(what, room, _)| used(what, *room))
            .collect();
        if !told.is_empty() {
            out.push(Check::good(&name, told.join(", ")));
        }
    }
}

fn used(what: &str, room: Room) -> String {
    match room.limit {
        Some(limit) => format!("{} of {limit} {what} are used", room.used),
        None => format!("{} {what} are used", room.used),
    }
}

fn of_user_data(wanted: &Wanted) -> Option<Check> {
    if wanted.user_data == 0 {
        return None;
    }
    let length = wanted.user_data.div_ceil(3) * 4;
    let found = format!("{length} of {MAX_USER_DATA} characters of base64");
    Some(if length > MAX_USER_DATA {
        Check::missing(
            "user-data",
            found,
            "shorten the answer file, or hand it over with `delivery = \"initrd\"`",
        )
    } else {
        Check::good("user-data", found)
    })
}

fn of_volume_type(facts: &Facts, wanted: &Wanted) -> Option<Check> {
    let name = wanted.volume_type.as_ref()?;
    match facts.volume_types.as_ref()? {
        Err(problem) => Some(network::unknown("volume type", problem)),
        Ok(types) if types.contains(name) => Some(Check::good("volume type", format!("`{name}`"))),
        Ok(types) => Some(Check::missing(
            "volume type",
            format!("there is no volume type `{name}`"),
            match types.as_slice() {
                [] => "leave it out".to_owned(),
                some => format!(
                    "there are {}",
                    some.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
                ),
            },
        )),
    }
}

fn of_sources(facts: &Facts, wanted: &Wanted) -> Vec<Check> {
    let mut out = Vec::new();
    match &facts.image {
        None => {}
        Some(Err(problem)) => out.push(network::unknown("source image", problem)),
        Some(Ok(image)) if image.status == ImageState::Active => {
            out.push(Check::good("source image", format!("`{}`", image.name)));
        }
        Some(Ok(image)) => out.push(Check::missing(
            "source image",
            format!("`{}` is in state {}", image.name, image.status),
            "use one that is active",
        )),
    }
    match &facts.snapshot {
        None => {}
        Some(Err(problem)) => out.push(missing_snapshot(wanted, problem)),
        Some(Ok(it)) if it.status == VolumeState::Available => {
            out.push(Check::good("source snapshot", format!("`{}`, {} GiB", it.name, it.size)));
        }
        Some(Ok(it)) => out.push(Check::missing(
            "source snapshot",
            format!("`{}` is in state {}", it.name, it.status),
            "use one that is available",
        )),
    }
    out
}

fn missing_snapshot(wanted: &Wanted, problem: &Problem) -> Check {
    let id = wanted.snapshot.as_deref().unwrap_or_default();
    match problem.status {
        Some(404) => Check::missing(
            "source snapshot",
            format!("there is no volume snapshot `{id}`"),
            "`openstack volume snapshot list` shows their IDs",
        ),
        _ => network::unknown("source snapshot", problem),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        openstack::{
            limits::Limits,
            network::{Network, Subnet},
            preflight::{Served, Site},
        },
        platform::Grade,
    };

    fn facts() -> Facts {
        let login = Login {
            project: Some("p".into()),
            roles: vec!["member".into()],
            life: Duration::from_hours(1),
            is_renewable: true,
        };
        Facts {
            login: Ok(login),
            services: Service::ALL.iter().map(|it| (*it, Ok(Served::default()))).collect(),
            ..Facts::default()
        }
    }

    fn subnet(ip_version: u8, enable_dhcp: bool) -> Subnet {
        Subnet {
            id: "s".into(),
            name: String::new(),
            cidr: "10.0.0.0/24".into(),
            ip_version,
            enable_dhcp,
            gateway_ip: Some("10.0.0.1".into()),
            dns_nameservers: Vec::new(),
        }
    }

    fn grade(facts: &Facts, wanted: &Wanted, name: &str) -> Option<Grade> {
        judge(facts, wanted).into_iter().find(|it| it.name == name).map(|it| it.grade)
    }

    #[test]
    fn credentials_for_no_project_build_nothing() {
        let facts = Facts { login: Ok(Login::default()), ..facts() };
        assert_eq!(grade(&facts, &Wanted::default(), "login"), Some(Grade::Missing));
    }

    #[test]
    fn the_network_of_a_provider_needs_no_router() {
        let network = |shared| Network {
            id: "n".into(),
            name: "office".into(),
            external: false,
            shared,
            project_id: "p".into(),
            status: "ACTIVE".into(),
            mtu: 1500,
            subnets: vec!["s".into()],
        };
        for (shared, subnets, addresses, way_out) in [
            (true, vec![subnet(4, true)], Grade::Good, Grade::Good),
            (false, vec![subnet(4, true)], Grade::Good, Grade::Warning),
            (true, vec![subnet(6, true)], Grade::Missing, Grade::Good),
            (true, vec![subnet(6, true), subnet(4, false)], Grade::Missing, Grade::Good),
            (true, vec![], Grade::Missing, Grade::Warning),
        ] {
            let facts = Facts {
                networks: Ok(vec![network(shared)]),
                site: Some(Ok(Site { subnets, ways: Vec::new() })),
                ..facts()
            };
            let wanted = Wanted::default();
            assert_eq!(grade(&facts, &wanted, "network"), Some(addresses), "{facts:#?}");
            assert_eq!(grade(&facts, &wanted, "way out"), Some(way_out), "{facts:#?}");
        }
    }

    #[test]
    fn images_count_where_the_cloud_counts_them() {
        let full = Room { used: 9, limit: Some(10) };
        let facts = Facts { limits: Limits { images: full, ..Limits::default() }, ..facts() };
        let wanted =
            |images| Wanted { makes: Makes { images, ..Makes::default() }, ..Wanted::default() };
        assert_eq!(grade(&facts, &wanted(1), "quota of glance"), Some(Grade::Good));
        assert_eq!(grade(&facts, &wanted(2), "quota of glance"), Some(Grade::Missing));
        assert_eq!(grade(&Facts::default(), &wanted(2), "quota of glance"), None);
    }

    #[test]
    fn user_data_is_counted_as_nova_counts_it() {
        for (bytes, expected) in
            [(0, None), (49_149, Some(Grade::Good)), (49_150, Some(Grade::Missing))]
        {
            let wanted = Wanted { user_data: bytes, ..Wanted::default() };
            assert_eq!(grade(&facts(), &wanted, "user-data"), expected, "{bytes}");
        }
    }
}
