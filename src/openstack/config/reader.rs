//! The settings of one cloud as a [`CloudConfig`].

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::{
    Auth, CloudConfig, ConfigError, Credential, Domain, Interface, Scope, Tls, Who,
    tree::{Files, Node, Value},
};
use crate::openstack::Service;

/// The domain that a name is in where nothing says so, as `openstackclient` has it.
const DEFAULT_DOMAIN: &str = "default";

/// Reads the settings of one cloud.
pub(super) struct Reader<'a> {
    pub(super) cloud: &'a str,
    pub(super) settings: Node,
    pub(super) files: &'a Files,
    /// The user's folder, for paths that begin with `~`.
    pub(super) home: Option<&'a Utf8Path>,
}

impl Reader<'_> {
    pub(super) fn read(&self) -> Result<CloudConfig, Box<ConfigError>> {
        if let Some(version) = self.settings.get("identity_api_version")
            && version.as_text().is_some_and(|it| !it.starts_with('3'))
        {
            let message = "keystone's version 2 is not spoken any more".to_owned();
            return Err(self.wrong(Some(version), message, "remove `identity_api_version`"));
        }
        let auth = self.auth()?;
        let scope = self.scope(&auth)?;
        Ok(CloudConfig {
            name: self.cloud.to_owned(),
            auth_url: self.url()?,
            auth,
            scope,
            region: self.region(),
            interface: self.interface()?,
            endpoints: self.endpoints()?,
            tls: self.tls()?,
        })
    }

    fn url(&self) -> Result<String, Box<ConfigError>> {
        let Some(node) = self.settings.get("auth_url") else {
            return Err(self.lacks("auth_url", "OS_AUTH_URL"));
        };
        let text = node.as_text().unwrap_or_default();
        // Profiles of clouds with a keystone in each region are written like this.
        let text = match self.region() {
            Some(region) => text.replace("{region_name}", &region),
            None => text.to_owned(),
        };
        self.http(node, &text, "auth_url")
    }

    /// An HTTP URL without the slash at its end.
    fn http(&self, node: &Node, text: &str, key: &str) -> Result<String, Box<ConfigError>> {
        match reqwest::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Ok(text.trim_end_matches('/').to_owned())
            }
            _ => Err(self.wrong(
                Some(node),
                format!("`{key}` is not an HTTP URL"),
                "write it like `https://cloud.example.org:5000/v3`",
            )),
        }
    }

    fn auth(&self) -> Result<Auth, Box<ConfigError>> {
        let kind = match self.settings.get("auth_type") {
            None => match self {
                _ if self.has("application_credential_id")
                    || self.has("application_credential_name") =>
                {
                    "application_credential"
                }
                _ if self.has("token") && !self.has("password") => "token",
                _ => "password",
            },
            Some(node) => match node.as_text().unwrap_or_default() {
                "password" | "v3password" => "password",
                "token" | "v3token" => "token",
                "v3applicationcredential" => "application_credential",
                other => {
                    let message = format!("`auth_type: {other}` is not known to imgbuild");
                    return Err(self.wrong(
                        Some(node),
                        message,
                        "use `password`, `v3applicationcredential` or `token`",
                    ));
                }
            },
        };
        let needed = |key: &str| {
            self.text(key).ok_or_else(|| self.lacks(key, &format!("OS_{}", key.to_uppercase())))
        };
        Ok(match kind {
            "token" => Auth::Token(needed("token")?.into()),
            "application_credential" => {
                let credential = match self.text("application_credential_id") {
                    Some(id) => Credential::Id(id),
                    None => Credential::Name(needed("application_credential_name")?, self.user()?),
                };
                Auth::ApplicationCredential {
                    credential,
                    secret: needed("application_credential_secret")?.into(),
                }
            }
            _ => Auth::Password { user: self.user()?, password: needed("password")?.into() },
        })
    }

    fn user(&self) -> Result<Who, Box<ConfigError>> {
        if let Some(id) = self.text("user_id") {
            return Ok(Who::Id(id));
        }
        let Some(name) = self.text("username") else {
            return Err(self.lacks("username", "OS_USERNAME"));
        };
        // A user mostly lives where the project does.
        let domain = self.domain("user_domain").or_else(|| self.domain("project_domain"));
        Ok(Who::Name(name, domain.unwrap_or_else(|| self.default_domain())))
    }

    fn scope(&self, auth: &Auth) -> Result<Scope, Box<ConfigError>> {
        // Keystone refuses a scope beside an application credential: it has its own.
        if matches!(auth, Auth::ApplicationCredential { .. }) {
            return Ok(Scope::Default);
        }
        if let Some(node) = self.settings.get("system_scope") {
            return match node.as_text() {
                Some("all") => Ok(Scope::System),
                _ => Err(self.wrong(
                    Some(node),
                    "`system_scope` can only be `all`".to_owned(),
                    "write `all`, or leave it out",
                )),
            };
        }
        if let Some(id) = self.text("trust_id") {
            return Ok(Scope::Trust(id));
        }
        if let Some(id) = self.text("project_id").or_else(|| self.text("tenant_id")) {
            return Ok(Scope::Project(Who::Id(id)));
        }
        if let Some(name) = self.text("project_name").or_else(|| self.text("tenant_name")) {
            let domain = self.domain("project_domain").or_else(|| self.domain("user_domain"));
            return Ok(Scope::Project(Who::Name(
                name,
                domain.unwrap_or_else(|| self.default_domain()),
            )));
        }
        Ok(self.domain("domain").map_or(Scope::Default, Scope::Domain))
    }

    fn domain(&self, key: &str) -> Option<Domain> {
        let id = self.text(&format!("{key}_id")).map(Domain::Id);
        id.or_else(|| self.text(&format!("{key}_name")).map(Domain::Name))
    }

    fn default_domain(&self) -> Domain {
        self.domain("default_domain")
            .or_else(|| self.text("default_domain").map(Domain::Id))
            .unwrap_or_else(|| Domain::Id(DEFAULT_DOMAIN.to_owned()))
    }

    fn region(&self) -> Option<String> {
        self.text("region_name").or_else(|| {
            let regions = self.settings.get("regions")?;
            let Value::List(items) = &regions.value else { return None };
            let first = items.first()?;
            first.as_text().or_else(|| first.get("name")?.as_text()).map(str::to_owned)
        })
    }

    fn interface(&self) -> Result<Interface, Box<ConfigError>> {
        let Some(node) =
            self.settings.get("interface").or_else(|| self.settings.get("endpoint_type"))
        else {
            return Ok(Interface::default());
        };
        match node.as_text().unwrap_or_default().trim_end_matches("URL") {
            "public" => Ok(Interface::Public),
            "internal" => Ok(Interface::Internal),
            "admin" => Ok(Interface::Admin),
            other => {
                let message = format!("`{other}` is not an interface");
                Err(self.wrong(Some(node), message, "use `public`, `internal` or `admin`"))
            }
        }
    }

    fn endpoints(&self) -> Result<BTreeMap<Service, String>, Box<ConfigError>> {
        let mut endpoints = BTreeMap::new();
        for service in Service::ALL {
            for kind in service.types() {
                let key = format!("{}_endpoint_override", kind.replace('-', "_"));
                if let Some(node) = self.settings.get(&key) {
                    let url = self.http(node, node.as_text().unwrap_or_default(), &key)?;
                    endpoints.entry(service).or_insert(url);
                }
            }
        }
        Ok(endpoints)
    }

    fn tls(&self) -> Result<Tls, Box<ConfigError>> {
        let verify = self.truth("verify")?.unwrap_or(true);
        let insecure = self.truth("insecure")?.unwrap_or(false);
        // As every tool does: `~` is the user's folder.
        let path = |key: &str| {
            let text = self.text(key)?;
            Some(match (text.strip_prefix("~/"), &self.home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => text.into(),
            })
        };
        Ok(Tls {
            insecure: insecure || !verify,
            cacert: path("cacert"),
            cert: path("cert"),
            key: path("key"),
        })
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, Box<ConfigError>> {
        let Some(node) = self.settings.get(key) else { return Ok(None) };
        match (&node.value, node.as_text().unwrap_or_default().to_ascii_lowercase().as_str()) {
            (Value::Bool(it), _) => Ok(Some(*it)),
            (_, "true" | "yes" | "on" | "1") => Ok(Some(true)),
            (_, "false" | "no" | "off" | "0") => Ok(Some(false)),
            _ => Err(self.wrong(
                Some(node),
                format!("`{key}` is neither true nor false"),
                "write `true` or `false`",
            )),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.settings.get(key).is_some()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.settings.get(key)?.as_text().filter(|it| !it.is_empty()).map(str::to_owned)
    }

    fn lacks(&self, key: &str, variable: &str) -> Box<ConfigError> {
        let help = format!(
            "add `{key}` to the cloud's `auth` in `clouds.yaml` or `secure.yaml`, or set `{variable}`"
        );
        self.wrong(None, format!("`{key}` is missing"), &help)
    }

    pub(super) fn wrong(
        &self,
        node: Option<&Node>,
        message: String,
        help: &str,
    ) -> Box<ConfigError> {
        let at = node.and_then(|it| it.at.as_ref()).or(self.settings.at.as_ref());
        let (text, span) = self.files.source(at);
        Box::new(ConfigError::Value {
            cloud: self.cloud.to_owned(),
            place: self.files.place(at),
            message,
            help: help.to_owned(),
            text,
            at: span,
        })
    }
}
