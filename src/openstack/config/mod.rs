//! How a cloud is reached, as `clouds.yaml` and `OS_*` variables say it.
//!
//! [`resolve`] is pure: texts in, a [`CloudConfig`] out. [`load`] finds the
//! texts where every OpenStack tool does: the file `OS_CLIENT_CONFIG_FILE`
//! names, else `clouds.yaml` in `./`, `~/.config/openstack`, `/etc/openstack`; one
//! that may not be read there is passed over;
//! `secure.yaml` and `clouds-public.yaml` likewise.

mod error;
mod files;
mod reader;
mod resolve;
mod settings;
mod tree;

pub use error::ConfigError;
pub use files::load;
pub use resolve::{names, resolve};

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use secrecy::SecretString;

use super::Service;

/// The texts that say how clouds are reached.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// `clouds.yaml`
    pub clouds: Option<Text>,
    /// `secure.yaml`, laid over it.
    pub secure: Option<Text>,
    /// `clouds-public.yaml`, where its profiles are.
    pub public: Option<Text>,
    /// The environment's `OS_*` variables.
    pub env: BTreeMap<String, String>,
    /// The user's folder, which `~` in the path of a certificate means.
    pub home: Option<Utf8PathBuf>,
}

/// A file that was read.
#[derive(Clone)]
pub struct Text {
    /// Its path.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// How one cloud is reached.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// Its name in `clouds.yaml`, or `envvars`.
    pub name: String,
    /// Keystone's URL.
    pub auth_url: String,
    /// Who we are.
    pub auth: Auth,
    /// What for.
    pub scope: Scope,
    /// The region; the catalogue's first where not given.
    pub region: Option<String>,
    /// Which endpoints are used.
    pub interface: Interface,
    /// Endpoints that the user knows better than the catalogue.
    pub endpoints: BTreeMap<Service, String>,
    /// How services are trusted.
    pub tls: Tls,
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A user with a password.
    Password {
        /// The user.
        user: Who,
        /// The password.
        password: SecretString,
    },
    /// An application credential; it knows its project.
    ApplicationCredential {
        /// The credential by ID, or by name with its user.
        credential: Credential,
        /// Its secret.
        secret: SecretString,
    },
    /// A token somebody else got.
    Token(SecretString),
}

/// An application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By its ID.
    Id(String),
    /// By its name, which is unique for a user.
    Name(String, Who),
}

/// A user or a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By its ID.
    Id(String),
    /// By its name, which is unique in a domain.
    Name(String, Domain),
}

/// A keystone domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By its ID.
    Id(String),
    /// By its name.
    Name(String),
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What keystone gives by itself: the user's default project, or what the
    /// application credential was made for.
    Default,
    /// A project.
    Project(Who),
    /// A domain.
    Domain(Domain),
    /// What somebody entrusts to the user, by the trust's ID.
    Trust(String),
    /// The whole cloud.
    System,
}

/// Which of a service's endpoints is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// The one for everybody.
    #[default]
    Public,
    /// The one inside the cloud.
    Internal,
    /// The one for operators.
    Admin,
}

impl Interface {
    /// Its name in a catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// How services are trusted, and how we are known to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// No certificate is checked at all.
    pub insecure: bool,
    /// The CA certificates that are trusted instead of the system's.
    pub cacert: Option<Utf8PathBuf>,
    /// Our certificate.
    pub cert: Option<Utf8PathBuf>,
    /// Its key; in the same file where not given.
    pub key: Option<Utf8PathBuf>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("path", &self.path).finish_non_exhaustive()
    }
}
