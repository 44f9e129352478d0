//! From texts to a [`CloudConfig`].
//!
//! In order, the later over the earlier: the profile in `clouds-public.yaml`,
//! the cloud in `clouds.yaml`, the cloud in `secure.yaml`. `OS_*` variables
//! fill in what these leave out; without any cloud chosen they are one by
//! themselves, called `envvars`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Auth, CloudConfig, ConfigError, Credential, Domain, Interface, Scope, Texts, Tls, Who,
    tree::{Files, Node, Value},
};
use crate::openstack::Service;

/// The name of the cloud that the environment describes.
const ENVIRONMENT: &str = "envvars";

/// The domain that a name is in where nothing says so, as `openstackclient` has it.
const DEFAULT_DOMAIN: &str = "default";

/// Keys that belong below `auth`, although old files have them beside it.
const AUTH_KEYS: [&str; 22] = [
    "auth_url",
    "username",
    "user_id",
    "password",
    "token",
    "user_domain_id",
    "user_domain_name",
    "project_id",
    "project_name",
    "tenant_id",
    "tenant_name",
    "project_domain_id",
    "project_domain_name",
    "domain_id",
    "domain_name",
    "default_domain",
    "default_domain_id",
    "default_domain_name",
    "system_scope",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
];

/// The names of the clouds that are known, in order.
pub fn names(texts: &Texts) -> Result<Vec<String>, Box<ConfigError>> {
    let mut files = Files::default();
    let mut names = match &texts.clouds {
        Some(text) => clouds_of(&files.parse(text)?, "clouds").keys().cloned().collect(),
        None => Vec::new(),
    };
    if texts.env.contains_key("OS_AUTH_URL") {
        names.push(ENVIRONMENT.to_owned());
    }
    Ok(names)
}

/// How the cloud of this name is reached; of the one `OS_CLOUD` names, of the
/// environment's own, or of the only one there is, where none is given.
pub fn resolve(texts: &Texts, cloud: Option<&str>) -> Result<CloudConfig, Box<ConfigError>> {
    let mut files = Files::default();
    let mut read = |text: &Option<super::Text>| text.as_ref().map(|it| files.parse(it)).transpose();
    let clouds = read(&texts.clouds)?.map(|it| clouds_of(&it, "clouds"));
    let secure = read(&texts.secure)?.map(|it| clouds_of(&it, "clouds"));
    let public = read(&texts.public)?.map(|it| clouds_of(&it, "public_clouds"));

    let listed =
        clouds.as_ref().map(|it| it.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let has_environment = texts.env.contains_key("OS_AUTH_URL");
    let name = match cloud.or_else(|| texts.env.get("OS_CLOUD").map(String::as_str)) {
        Some(name) => name.to_owned(),
        None if has_environment => ENVIRONMENT.to_owned(),
        None => match listed.as_slice() {
            [] => return Err(Box::new(ConfigError::NoCloud)),
            [only] => only.clone(),
            many => return Err(Box::new(ConfigError::WhichCloud { known: quoted(many) })),
        },
    };

    let mine = clouds.as_ref().and_then(|it| it.get(&name));
    let mut node = match mine {
        Some(node) => {
            let mut node = node.clone();
            if let Some(profile) = node.get("profile").or_else(|| node.get("cloud")).cloned() {
                let mut merged = profile_of(&name, &profile, public.as_ref(), &files)?;
                merged.merge(node);
                node = merged;
            }
            node
        }
        None if name == ENVIRONMENT && has_environment => Node::empty(),
        None => {
            let near = listed
                .iter()
                .map(|it| (strsim::jaro_winkler(it, &name), it))
                .filter(|(score, _)| *score > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let help = match (near, listed.as_slice()) {
                (Some((_, near)), _) => {
                    format!("did you mean `{near}`? there are {}", quoted(&listed))
                }
                (None, []) => "there is no `clouds.yaml` with a cloud in it".to_owned(),
                (None, _) => format!("there are {}", quoted(&listed)),
            };
            let path = texts.clouds.as_ref().map(|it| it.path.clone());
            return Err(Box::new(ConfigError::UnknownCloud { name, path, help }));
        }
    };
    if let Some(secrets) = secure.as_ref().and_then(|it| it.get(&name)) {
        node.merge(secrets.clone());
    }
    Reader { cloud: &name, settings: settings(node, &texts.env), files: &files }.read()
}

/// The maps below a key.
fn clouds_of(root: &Node, key: &str) -> BTreeMap<String, Node> {
    let Some(node) = root.get(key) else { return BTreeMap::new() };
    match &node.value {
        Value::Map(map) => map.clone(),
        _ => BTreeMap::new(),
    }
}

fn profile_of(
    cloud: &str,
    profile: &Node,
    public: Option<&BTreeMap<String, Node>>,
    files: &Files,
) -> Result<Node, Box<ConfigError>> {
    let name = profile.as_text().unwrap_or_default();
    if let Some(found) = public.and_then(|it| it.get(name)) {
        return Ok(found.clone());
    }
    let known: Vec<_> = public.map(|it| it.keys().cloned().collect()).unwrap_or_default();
    let help = if known.is_empty() {
        "profiles are read from `clouds-public.yaml`; there is none".to_owned()
    } else {
        format!("`clouds-public.yaml` has {}", quoted(&known))
    };
    let reader = Reader { cloud, settings: Node::empty(), files };
    Err(reader.wrong(Some(profile), format!("there is no profile `{name}`"), &help))
}

/// The cloud's settings in one flat map: `auth` and what is beside it, filled
/// in from the environment.
fn settings(mut cloud: Node, env: &BTreeMap<String, String>) -> Node {
    let auth = cloud.get("auth").cloned();
    if let Some(auth) = auth {
        // What stands below `auth` is meant before what stands beside it.
        cloud.merge(auth);
    }
    let given: BTreeSet<String> = cloud.keys().cloned().collect();
    let has = |keys: &[&str]| keys.iter().any(|it| given.contains(*it));
    // A variable must not mix with another way to say the same thing.
    let groups: [&[&str]; 6] = [
        &[
            "username",
            "user_id",
            "application_credential_id",
            "application_credential_name",
            "token",
        ],
        &[
            "project_id",
            "project_name",
            "tenant_id",
            "tenant_name",
            "domain_id",
            "domain_name",
            "system_scope",
            "application_credential_id",
            "application_credential_name",
        ],
        &[
            "user_domain_id",
            "user_domain_name",
            "default_domain",
            "default_domain_id",
            "default_domain_name",
        ],
        &[
            "project_domain_id",
            "project_domain_name",
            "default_domain",
            "default_domain_id",
            "default_domain_name",
        ],
        &["interface", "endpoint_type"],
        &["verify", "insecure"],
    ];
    let mut more = BTreeMap::new();
    for (variable, value) in env {
        let Some(key) = variable.strip_prefix("OS_").map(str::to_ascii_lowercase) else { continue };
        let known = AUTH_KEYS.contains(&key.as_str())
            || [
                "auth_type",
                "region_name",
                "interface",
                "endpoint_type",
                "cacert",
                "cert",
                "key",
                "insecure",
                "verify",
            ]
            .contains(&key.as_str())
            || key.ends_with("_endpoint_override");
        let taken = given.contains(&key)
            || groups.iter().any(|group| group.contains(&key.as_str()) && has(group));
        if known && !taken {
            more.insert(key, Node::text(value));
        }
    }
    cloud.merge(Node { value: Value::Map(more), at: None });
    cloud
}

/// Reads the settings of one cloud.
struct Reader<'a> {
    cloud: &'a str,
    settings: Node,
    files: &'a Files,
}

impl Reader<'_> {
    fn read(&self) -> Result<CloudConfig, Box<ConfigError>> {
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
        self.http(node, "auth_url")
    }

    /// An HTTP URL without the slash at its end.
    fn http(&self, node: &Node, key: &str) -> Result<String, Box<ConfigError>> {
        let text = node.as_text().unwrap_or_default();
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
                    let url = self.http(node, &key)?;
                    endpoints.entry(service).or_insert(url);
                }
            }
        }
        Ok(endpoints)
    }

    fn tls(&self) -> Result<Tls, Box<ConfigError>> {
        let verify = self.truth("verify")?.unwrap_or(true);
        let insecure = self.truth("insecure")?.unwrap_or(false);
        let path = |key: &str| self.text(key).map(Into::into);
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

    fn wrong(&self, node: Option<&Node>, message: String, help: &str) -> Box<ConfigError> {
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

fn quoted(names: &[String]) -> String {
    names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::openstack::config::Text;

    fn text(path: &str, text: &str) -> Text {
        Text { path: path.to_owned(), text: text.to_owned() }
    }

    fn texts(clouds: &str) -> Texts {
        Texts { clouds: Some(text("clouds.yaml", clouds)), ..Texts::default() }
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn report(error: &ConfigError) -> String {
        let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none());
        let mut out = String::new();
        handler.render_report(&mut out, error).unwrap();
        out
    }

    const TWO: &str = "clouds:
  prod:
    auth:
      auth_url: https://prod.example.org:5000/v3/
      username: builder
      password: hunter2
      project_name: images
      user_domain_name: Staff
      project_domain_id: 1234
    region_name: north
    interface: internal
    image_endpoint_override: http://glance.example.org:9292
    verify: no
  lab-1:
    profile: lab
    auth:
      application_credential_id: 0815
";

    #[test]
    fn a_cloud_is_read() {
        let cloud = resolve(&texts(TWO), Some("prod")).unwrap();
        assert_eq!(cloud.auth_url, "https://prod.example.org:5000/v3");
        assert_eq!(cloud.region.as_deref(), Some("north"));
        assert_eq!(cloud.interface, Interface::Internal);
        assert!(cloud.tls.insecure);
        assert_eq!(cloud.endpoints[&Service::Image], "http://glance.example.org:9292");
        assert_eq!(
            cloud.scope,
            Scope::Project(Who::Name("images".into(), Domain::Id("1234".into())))
        );
        let Auth::Password { user, password } = cloud.auth else { panic!("{:?}", cloud.auth) };
        assert_eq!(user, Who::Name("builder".into(), Domain::Name("Staff".into())));
        assert_eq!(password.expose_secret(), "hunter2");
    }

    #[test]
    fn secrets_and_profiles_are_laid_over_one_another() {
        let texts = Texts {
            secure: Some(text(
                "secure.yaml",
                "clouds:\n  lab-1:\n    auth: {application_credential_secret: s3cr3t}\n",
            )),
            public: Some(text(
                "clouds-public.yaml",
                "public-clouds:\n  lab:\n    auth: {auth_url: 'http://lab:5000'}\n    regions: [a, b]\n",
            )),
            ..texts(TWO)
        };
        let cloud = resolve(&texts, Some("lab-1")).unwrap();
        assert_eq!(cloud.auth_url, "http://lab:5000");
        assert_eq!(cloud.region.as_deref(), Some("a"));
        let Auth::ApplicationCredential { credential, secret } = &cloud.auth else {
            panic!("{:?}", cloud.auth)
        };
        assert_eq!(*credential, Credential::Id("0815".into()));
        assert_eq!(secret.expose_secret(), "s3cr3t");
        assert_eq!(cloud.scope, Scope::Default);
        assert!(!format!("{cloud:?}").contains("s3cr3t"));
    }

    #[test]
    fn the_environment_fills_in_and_is_a_cloud_by_itself() {
        let mut it = texts("clouds:\n  a:\n    auth: {auth_url: 'http://a', username: u}\n");
        it.env = env(&[
            ("OS_PASSWORD", "pw"),
            ("OS_USERNAME", "other"),
            ("OS_PROJECT_NAME", "p"),
            ("OS_REGION_NAME", "r"),
        ]);
        let cloud = resolve(&it, None).unwrap();
        let domain = Domain::Id("default".into());
        assert_eq!(cloud.scope, Scope::Project(Who::Name("p".into(), domain.clone())));
        assert!(
            matches!(cloud.auth, Auth::Password { user: Who::Name(name, _), .. } if name == "u")
        );
        assert_eq!(cloud.region.as_deref(), Some("r"));

        it.env = env(&[
            ("OS_AUTH_URL", "http://e/v3"),
            ("OS_TOKEN", "tok"),
            ("OS_PROJECT_ID", "id"),
            ("OS_INSECURE", "1"),
        ]);
        let cloud = resolve(&it, None).unwrap();
        assert_eq!(cloud.name, "envvars");
        assert!(matches!(cloud.auth, Auth::Token(_)));
        assert_eq!(cloud.scope, Scope::Project(Who::Id("id".into())));
        assert!(cloud.tls.insecure);
        assert_eq!(names(&it).unwrap(), ["a", "envvars"]);
    }

    #[test]
    fn which_cloud_is_meant_is_asked_and_told() {
        let known = resolve(&texts(TWO), None).unwrap_err().to_string();
        assert_eq!(known, "which cloud is meant? there are `lab-1`, `prod`");
        let unknown = report(&resolve(&texts(TWO), Some("prd")).unwrap_err());
        assert!(unknown.contains("there is no cloud `prd` in `clouds.yaml`"), "{unknown}");
        assert!(unknown.contains("did you mean `prod`?"), "{unknown}");
        assert!(matches!(*resolve(&Texts::default(), None).unwrap_err(), ConfigError::NoCloud));
        let mut it = texts(TWO);
        it.env = env(&[("OS_CLOUD", "prod")]);
        assert_eq!(resolve(&it, None).unwrap().name, "prod");
    }

    #[test]
    fn errors_point_at_the_line_and_show_no_secret() {
        for (from, to, line, message) in [
            ("interface: internal", "interface: inside", 11, "`inside` is not an interface"),
            ("verify: no", "verify: maybe", 13, "`verify` is neither true nor false"),
            ("https://prod.example.org:5000/v3/", "prod:5000", 4, "`auth_url` is not an HTTP URL"),
            ("      username: builder\n", "", 4, "`username` is missing"),
            (
                "      username: builder\n",
                "      username: builder\n      system_scope: x\n",
                6,
                "`system_scope` can only be `all`",
            ),
            (
                "    region_name",
                "    auth_type: kerberos\n    region_name",
                10,
                "`auth_type: kerberos` is not known to imgbuild",
            ),
        ] {
            let error = report(&resolve(&texts(&TWO.replace(from, to)), Some("prod")).unwrap_err());
            assert!(
                error.contains(&format!("`clouds.yaml:{line}`, cloud `prod`: {message}")),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        let profile = report(&resolve(&texts(TWO), Some("lab-1")).unwrap_err());
        assert!(
            profile.contains("`clouds.yaml:15`, cloud `lab-1`: there is no profile `lab`"),
            "{profile}"
        );
    }

    #[test]
    fn broken_yaml_is_reported_without_its_text() {
        let error = resolve(&texts("clouds:\n  a:\n    auth: {password: hunter2\n  b: ]"), None)
            .unwrap_err();
        let ConfigError::Syntax { line, .. } = &*error else { panic!("{error:?}") };
        assert!(line.is_some());
        assert!(!report(&error).contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(a in ".{0,200}", b in "[a-z:{}\\[\\]\n \"&*!|>-]{0,120}") {
            for it in [a, b] {
                _ = resolve(&Texts { secure: Some(text("s", &it)), ..texts(&it) }, Some("a"));
            }
        }
    }
}
