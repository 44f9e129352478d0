//! Keystone, Glance, Nova, Neutron and Cinder over HTTP.
//!
//! A thin client of its own: requests are sent by one [`session`], which knows
//! tokens, versions, retries and deadlines; [`image`], [`compute`], [`network`]
//! and [`volume`] say what is asked for. Three rules hold for all of them:
//!
//! - Creating is idempotent by name: what has the name already is taken, and a
//!   lost reply is looked up before anything is asked for again.
//! - Releasing takes an ID or a name, waits until the thing is gone, and what is
//!   already gone is a success.
//! - Every wait has a deadline and ends when the [`CancellationToken`] says so.
//!
//! [`CancellationToken`]: crate::CancellationToken

pub mod compute;
pub mod config;
pub mod console;
pub mod error;
pub mod fake;
pub mod image;
pub mod limits;
pub mod lost;
pub mod network;
pub mod preflight;
pub mod release;
pub mod session;
pub mod upload;
pub mod volume;
pub mod wait;

mod body;
mod call;
mod catalog;
mod cloud;
mod hash;
mod http;
mod token;

pub use cloud::Cloud;
pub use config::CloudConfig;
pub use error::Error;
pub use session::Patience;

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A service of a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Keystone.
    Identity,
    /// Glance.
    Image,
    /// Nova.
    Compute,
    /// Neutron.
    Network,
    /// Cinder.
    Volume,
}

impl Service {
    /// Every service this client speaks to.
    pub const ALL: [Self; 5] =
        [Self::Identity, Self::Image, Self::Compute, Self::Network, Self::Volume];

    /// The name people call it by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "keystone",
            Self::Image => "glance",
            Self::Compute => "nova",
            Self::Network => "neutron",
            Self::Volume => "cinder",
        }
    }

    /// The names it has in catalogues and in `*_endpoint_override`, the official
    /// one first (<https://service-types.openstack.org>).
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Identity => &["identity"],
            Self::Image => &["image"],
            Self::Compute => &["compute"],
            Self::Network => &["network"],
            Self::Volume => &["block-storage", "volumev3", "volume", "block-store"],
        }
    }

    /// The major version this client speaks.
    const fn major(self) -> u32 {
        match self {
            Self::Image | Self::Compute | Self::Network => 2,
            Self::Identity | Self::Volume => 3,
        }
    }

    /// The last part of a versioned endpoint, where the service does not say.
    const fn usual_segment(self) -> &'static str {
        match self {
            Self::Identity | Self::Volume => "v3",
            Self::Image => "v2",
            Self::Compute => "v2.1",
            Self::Network => "v2.0",
        }
    }
}

impl FromStr for Service {
    type Err = String;

    /// By the name that people call it by, or its type in a catalogue.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |it: &Self| it.as_str() == text || it.types().contains(&text);
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no service; there are {known}")
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
