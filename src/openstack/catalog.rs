//! Where services are and which versions they speak. Pure: documents in,
//! endpoints out.
//!
//! Catalogues name a service's root, its versioned endpoint, or that with the
//! project's ID; and services behind a proxy name themselves by addresses that
//! do not work from outside. Hence of what a service says about itself only the
//! last part (`v2.1`) is believed; host and path are the catalogue's.

use serde::Deserialize;
use serde_json::Value;

use super::{Service, config::Interface};

/// A part of a token: one service.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<EntryEndpoint>,
}

#[derive(Clone, Debug, Deserialize)]
struct EntryEndpoint {
    #[serde(default)]
    interface: String,
    url: String,
    region_id: Option<String>,
    /// The same under its old name.
    region: Option<String>,
}

impl EntryEndpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

/// The endpoint of a service in a catalogue.
pub(super) fn find<'a>(
    catalog: &'a [Entry],
    service: Service,
    region: Option<&str>,
    interface: Interface,
) -> Option<&'a str> {
    service.types().iter().find_map(|kind| {
        catalog
            .iter()
            .filter(|entry| entry.kind == *kind)
            .flat_map(|entry| &entry.endpoints)
            .find(|it| {
                it.interface.trim_end_matches("URL") == interface.as_str()
                    && region.is_none_or(|wanted| it.region() == Some(wanted))
            })
            .map(|it| it.url.as_str())
    })
}

/// What a catalogue has, for people.
pub(super) fn describe(catalog: &[Entry]) -> String {
    let mut known: Vec<_> = catalog
        .iter()
        .flat_map(|entry| entry.endpoints.iter().map(move |it| (entry, it)))
        .map(|(entry, it)| {
            format!("{} ({}, {})", entry.kind, it.region().unwrap_or("no region"), it.interface)
        })
        .collect();
    known.sort();
    known.dedup();
    if known.is_empty() { "nothing; is the project right?".to_owned() } else { known.join(", ") }
}

/// A version such as `2.93`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where requests to a service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Without a slash at its end.
    pub(super) base: String,
    /// The oldest and newest microversion, where the service has them.
    pub(super) microversions: Option<(Version, Version)>,
}

/// A catalogue's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `https://cloud/volume`
    root: String,
    /// `v3`
    version: Option<String>,
    /// `/PROJECT`, or nothing.
    tail: String,
}

impl Address {
    pub(super) fn parse(url: &str, project: Option<&str>) -> Self {
        let url = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let authority = url.find("://").map_or(0, |it| it + 3);
        let path = url[authority..].find('/').map_or(url.len(), |it| authority + it);
        let mut at = url.len();
        for segment in url[path..].rsplit('/') {
            at = at.saturating_sub(segment.len() + 1).max(path);
            if is_version(segment) {
                let end = at + 1 + segment.len();
                let (root, tail) = (url[..at].to_owned(), url[end..].to_owned());
                return Self { root, version: Some(segment.to_owned()), tail };
            }
        }
        let tail = project
            .filter(|it| !it.is_empty())
            .and_then(|it| url.rsplit_once('/').filter(|(_, last)| last.ends_with(it)));
        match tail {
            Some((root, last)) => {
                Self { root: root.to_owned(), version: None, tail: format!("/{last}") }
            }
            None => Self { root: url.to_owned(), version: None, tail: String::new() },
        }
    }

    /// Where the service says which versions it has.
    pub(super) fn document(&self) -> String {
        let Self { root, version, .. } = self;
        version.as_ref().map_or_else(|| format!("{root}/"), |it| format!("{root}/{it}/"))
    }

    /// The endpoint, by what the service said there; `Err` has what it offers
    /// where that is not what we speak.
    pub(super) fn endpoint(
        &self,
        document: Option<&Value>,
        service: Service,
        project: Option<&str>,
    ) -> Result<Endpoint, String> {
        let offers = document.map(offers).unwrap_or_default();
        let best = offers
            .iter()
            .filter(|it| it.version.0 == service.major())
            .max_by_key(|it| (it.current, it.version));
        let segment = match (best, &self.version) {
            (_, Some(version)) => {
                if best.is_none()
                    && Version::parse(version).is_some_and(|it| it.0 != service.major())
                {
                    return Err(version.clone());
                }
                version.clone()
            }
            (Some(best), None) => {
                best.segment.clone().unwrap_or_else(|| service.usual_segment().to_owned())
            }
            (None, None) if offers.is_empty() => service.usual_segment().to_owned(),
            (None, None) => {
                return Err(offers
                    .iter()
                    .map(|it| it.version.to_string())
                    .collect::<Vec<_>>()
                    .join(", "));
            }
        };
        // Cinder wants the project in the path, in all but its newest releases.
        let tail = match (service, &self.version, project) {
            (Service::Volume, None, Some(project)) => format!("/{project}"),
            _ => self.tail.clone(),
        };
        let microversions = best.and_then(|it| it.microversions);
        Ok(Endpoint { base: format!("{}/{segment}{tail}", self.root), microversions })
    }
}

/// One version that a service has.
struct Offer {
    version: Version,
    segment: Option<String>,
    microversions: Option<(Version, Version)>,
    current: bool,
}

fn offers(document: &Value) -> Vec<Offer> {
    let versions = &document["versions"];
    let listed = versions.as_array().or_else(|| versions["values"].as_array());
    let single = document.get("version").filter(|it| it.is_object());
    listed
        .into_iter()
        .flatten()
        .chain(single)
        .filter_map(|it| {
            let version = Version::parse(it["id"].as_str()?)?;
            let text = |key: &str| it[key].as_str().filter(|it| !it.is_empty());
            let max = text("version").or_else(|| text("max_version")).and_then(Version::parse);
            let min = text("min_version").and_then(Version::parse);
            let segment = it["links"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|it| it["rel"].as_str().is_none_or(|rel| rel == "self"))
                .find_map(|it| {
                    let path = it["href"].as_str()?.trim_end_matches('/');
                    path.rsplit('/').find(|it| is_version(it)).map(str::to_owned)
                });
            let current = !text("status").is_some_and(|it| it.eq_ignore_ascii_case("deprecated"));
            Some(Offer { version, segment, microversions: min.zip(max), current })
        })
        .collect()
}

fn is_version(segment: &str) -> bool {
    segment.starts_with('v') && Version::parse(segment).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base(url: &str, document: &Value, service: Service) -> Result<String, String> {
        let address = Address::parse(url, Some("abc"));
        Ok(address.endpoint(Some(document), service, Some("abc"))?.base)
    }

    #[test]
    fn every_way_to_write_an_endpoint_leads_to_the_service() {
        let glance = json!({"versions": [
            {"id": "v2.0", "status": "SUPPORTED", "links": [{"rel": "self", "href": "http://127.0.0.1:9292/v2/"}]},
            {"id": "v2.15", "status": "CURRENT", "links": [{"rel": "self", "href": "http://127.0.0.1:9292/v2/"}]}]});
        let nova = json!({"version": {"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1"}});
        let cinder = json!({"versions": [
            {"id": "v2.0", "status": "DEPRECATED", "links": [{"rel": "self", "href": "http://internal/v2/"}]},
            {"id": "v3.0", "status": "CURRENT", "version": "3.70", "min_version": "3.0",
             "links": [{"rel": "self", "href": "http://internal/v3/"}]}]});
        let neutron = json!({"versions": [
            {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": "http://n:9696/v2.0/"}]}]});
        let keystone = json!({"versions": {"values": [
            {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": "http://k:5000/v3/"}]}]}});
        for (url, document, service, expected) in [
            ("http://h:9292", &glance, Service::Image, "http://h:9292/v2"),
            ("https://cloud/image/", &glance, Service::Image, "https://cloud/image/v2"),
            ("https://cloud/image/v2/", &glance, Service::Image, "https://cloud/image/v2"),
            ("http://h:8774/v2.1", &nova, Service::Compute, "http://h:8774/v2.1"),
            ("http://h:8774/v2.1/abc", &nova, Service::Compute, "http://h:8774/v2.1/abc"),
            ("http://h:8776/v3/abc", &cinder, Service::Volume, "http://h:8776/v3/abc"),
            ("http://h:8776/v3", &cinder, Service::Volume, "http://h:8776/v3"),
            ("http://h:8776", &cinder, Service::Volume, "http://h:8776/v3/abc"),
            ("https://cloud/volume/abc", &cinder, Service::Volume, "https://cloud/volume/v3/abc"),
            ("http://h:9696", &neutron, Service::Network, "http://h:9696/v2.0"),
            ("http://h:5000", &keystone, Service::Identity, "http://h:5000/v3"),
            ("http://h:5000/v3", &keystone, Service::Identity, "http://h:5000/v3"),
            ("http://h/odd", &json!({"hello": 1}), Service::Image, "http://h/odd/v2"),
        ] {
            assert_eq!(base(url, document, service).as_deref(), Ok(expected), "{url}");
        }
        assert_eq!(base("http://h", &glance, Service::Identity).unwrap_err(), "2.0, 2.15");
        assert_eq!(base("http://h/v2/abc", &json!({}), Service::Volume).unwrap_err(), "v2");
    }

    #[test]
    fn microversions_are_read() {
        let document = json!({"versions": [
            {"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1"},
            {"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": ""}]});
        let endpoint =
            Address::parse("http://h/", None).endpoint(Some(&document), Service::Compute, None);
        assert_eq!(endpoint.unwrap().microversions, Some((Version(2, 1), Version(2, 93))));
        assert!(Version(2, 9) < Version(2, 45));
    }

    #[test]
    fn the_official_name_of_a_service_wins_and_the_region_counts() {
        let catalog: Vec<Entry> = serde_json::from_value(json!([
            {"type": "volumev3", "endpoints": [{"interface": "public", "url": "http://old", "region": "a"}]},
            {"type": "block-storage", "endpoints": [
                {"interface": "internal", "url": "http://in", "region_id": "a", "id": "x"},
                {"interface": "public", "url": "http://a", "region": "a"},
                {"interface": "public", "url": "http://b", "region": "b"}]}]))
        .unwrap();
        let find = |region, interface| find(&catalog, Service::Volume, region, interface);
        assert_eq!(find(Some("b"), Interface::Public), Some("http://b"));
        assert_eq!(find(None, Interface::Public), Some("http://a"));
        assert_eq!(find(Some("a"), Interface::Internal), Some("http://in"));
        assert_eq!(find(Some("c"), Interface::Public), None);
        assert!(describe(&catalog).contains("volumev3 (a, public)"));
    }

    proptest::proptest! {
        #[test]
        fn no_address_is_too_strange(url in "\\PC{0,60}", project in proptest::option::of("[a-f0-9]{0,8}")) {
            let address = Address::parse(&url, project.as_deref());
            _ = address.document();
            _ = address.endpoint(None, Service::Volume, project.as_deref());
        }
    }
}
