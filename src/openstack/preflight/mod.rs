//! What a build needs of a cloud, looked at before the first write.
//!
//! [`gather`] asks every service and changes nothing; what cannot be had is a
//! fact like any other. [`judge`] is pure: facts and wishes in, findings out.
//! [`survey`] is both.

mod facts;
mod judge;
mod network;

pub use facts::{Facts, Login, Problem, Served, Site, Way, gather};
pub use judge::{QUOTA, flavor, judge};
pub use network::network;

use super::{Cloud, Error};
use crate::platform::Check;

/// What a build needs of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The flavor, by name or ID; the smallest that fits where not given.
    pub flavor: Option<String>,
    /// Processors, at least.
    pub vcpus: u32,
    /// Memory in MiB, at least.
    pub ram: u64,
    /// The root disk in GiB, at least.
    pub disk: u64,
    /// Whether the root disk is a volume: the flavor's own does not count then.
    pub root_on_volume: bool,
    /// The network, by name or ID; the project's only one where not given.
    pub network: Option<String>,
    /// The port to use, by name or ID.
    pub port: Option<String>,
    /// The network to take a floating IP from, by name or ID.
    pub floating_ip: Option<String>,
    /// Security groups that are to be there, by name or ID.
    pub security_groups: Vec<String>,
    /// The type of volumes, by name.
    pub volume_type: Option<String>,
    /// An image that is to be there, by name or ID.
    pub image: Option<String>,
    /// A volume snapshot that is to be there, by name or ID.
    pub snapshot: Option<String>,
    /// The answer file's length in bytes; Nova counts it in base64.
    pub user_data: usize,
    /// What is made, at its most at one time.
    pub makes: Makes,
}

/// How much is made of everything, at its most at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Makes {
    /// Servers, each of the flavor.
    pub servers: u64,
    /// Ports; Nova makes one for each server where none is given.
    pub ports: u64,
    /// Security groups.
    pub security_groups: u64,
    /// Images.
    pub images: u64,
    /// Volumes.
    pub volumes: u64,
    /// Volume snapshots.
    pub snapshots: u64,
    /// Volumes and their snapshots together, in GiB.
    pub gigabytes: u64,
}

impl Default for Wanted {
    /// The least that any build needs: one small server, its port, two images.
    fn default() -> Self {
        Self {
            flavor: None,
            vcpus: 1,
            ram: 512,
            disk: 2,
            root_on_volume: false,
            network: None,
            port: None,
            floating_ip: None,
            security_groups: Vec::new(),
            volume_type: None,
            image: None,
            snapshot: None,
            user_data: 0,
            makes: Makes { servers: 1, ports: 1, images: 2, ..Makes::default() },
        }
    }
}

/// Looks whether the cloud has what a build wants. Only what ends the question
/// itself is an error ([`Error::Cancelled`]); everything else is a finding.
pub async fn survey(cloud: &Cloud, wanted: &Wanted) -> Result<Vec<Check>, Error> {
    Ok(judge(&gather(cloud, wanted).await?, wanted))
}
