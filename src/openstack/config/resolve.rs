//! From texts to a [`CloudConfig`].
//!
//! In order, the later over the earlier: the profile in `clouds-public.yaml`,
//! the cloud in `clouds.yaml`, the cloud in `secure.yaml`. `OS_*` variables
//! fill in what these leave out; without any cloud chosen they are one by
//! themselves, called `envvars`.

use std::collections::BTreeMap;

use super::{
    CloudConfig, ConfigError, Texts,
    error::HOW_TO_BEGIN,
    reader::Reader,
    settings::settings,
    tree::{Files, Node, Value},
};

/// The name of the cloud that the environment describes.
const ENVIRONMENT: &str = "envvars";

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
                (None, []) if texts.clouds.is_some() => {
                    "the file has no cloud: each is a table below `clouds:`".to_owned()
                }
                (None, []) => format!("there is no `clouds.yaml`: {HOW_TO_BEGIN}"),
                (None, _) => format!("there are {}", quoted(&listed)),
            };
            let path = texts.clouds.as_ref().map(|it| it.path.clone());
            return Err(Box::new(ConfigError::UnknownCloud { name, path, help }));
        }
    };
    if let Some(secrets) = secure.as_ref().and_then(|it| it.get(&name)) {
        node.merge(secrets.clone());
    }
    let home = texts.home.as_deref();
    Reader { cloud: &name, settings: settings(node, &texts.env), files: &files, home }.read()
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
        "profiles are read from `clouds-public.yaml`, and there is none: write its `auth_url` into the cloud itself".to_owned()
    } else {
        format!("`clouds-public.yaml` has {}", quoted(&known))
    };
    let reader = Reader { cloud, settings: Node::empty(), files, home: None };
    Err(reader.wrong(Some(profile), format!("there is no profile `{name}`"), &help))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::openstack::{
        Service,
        config::{Auth, Credential, Domain, Interface, Scope, Text, Who},
    };

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
    fn the_environment_does_not_change_who_a_cloud_s_user_is() {
        let mut it = texts(
            "clouds:\n  a:\n    auth: {auth_url: 'http://a', username: u, password: p, project_name: x}\n  \
             b:\n    auth: {auth_url: 'http://b', token: t, project_name: x}\n",
        );
        // What the `openrc` of an application credential leaves in a shell, and one of a user.
        it.env = env(&[
            ("OS_AUTH_TYPE", "v3applicationcredential"),
            ("OS_APPLICATION_CREDENTIAL_ID", "id"),
            ("OS_APPLICATION_CREDENTIAL_SECRET", "secret"),
            ("OS_USERNAME", "other"),
            ("OS_PASSWORD", "other"),
        ]);
        assert!(matches!(resolve(&it, Some("a")).unwrap().auth, Auth::Password { .. }));
        assert!(matches!(resolve(&it, Some("b")).unwrap().auth, Auth::Token(_)));
    }

    #[test]
    fn trusts_regions_in_addresses_and_the_user_s_folder_are_understood() {
        let mut it = texts(
            "clouds:\n  a:\n    region_name: north\n    cacert: ~/ca.pem\n    cert: /c.pem\n    auth:\n      \
             auth_url: https://{region_name}.example.org:5000\n      username: u\n      password: p\n      trust_id: t\n",
        );
        it.home = Some("/home/u".into());
        let cloud = resolve(&it, None).unwrap();
        assert_eq!(cloud.auth_url, "https://north.example.org:5000");
        assert_eq!(cloud.scope, Scope::Trust("t".into()));
        assert_eq!(cloud.tls.cacert.as_deref(), Some("/home/u/ca.pem".into()));
        assert_eq!(cloud.tls.cert.as_deref(), Some("/c.pem".into()));
    }

    #[test]
    fn which_cloud_is_meant_is_asked_and_told() {
        let known = resolve(&texts(TWO), None).unwrap_err().to_string();
        assert_eq!(known, "which cloud is meant? there are `lab-1`, `prod`");
        let unknown = report(&resolve(&texts(TWO), Some("prd")).unwrap_err());
        assert!(unknown.contains("there is no cloud `prd` in `clouds.yaml`"), "{unknown}");
        assert!(unknown.contains("did you mean `prod`?"), "{unknown}");
        assert!(matches!(*resolve(&Texts::default(), None).unwrap_err(), ConfigError::NoCloud));
        let none = report(&resolve(&Texts::default(), Some("prod")).unwrap_err());
        assert!(none.contains("there is no `clouds.yaml`"), "{none}");
        assert!(none.contains("~/.config/openstack"), "where it belongs: {none}");
        let empty = report(&resolve(&texts("cloud: {a: {}}"), Some("a")).unwrap_err());
        assert!(empty.contains("each is a table below `clouds:`"), "{empty}");
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
