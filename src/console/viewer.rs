//! How an installer can be looked at from elsewhere, by what it says itself.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    viewer: Vec<Viewer>,
}

#[derive(Deserialize)]
struct Viewer {
    #[serde(with = "pattern")]
    pattern: Regex,
    command: String,
}

mod pattern {
    use regex::Regex;
    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
        let text = String::deserialize(from)?;
        Regex::new(&text).map_err(D::Error::custom)
    }
}

static VIEWERS: LazyLock<Vec<Viewer>> = LazyLock::new(|| {
    toml::from_str::<File>(include_str!("../../data/viewers.toml"))
        .map(|it| it.viewer)
        .unwrap_or_default()
});

/// The command that shows an installer's screen, where this line of its console
/// offers one. `address` stands in where the installer does not know its own.
pub fn viewer(line: &str, address: Option<&str>) -> Option<String> {
    VIEWERS.iter().find_map(|viewer| {
        let found = viewer.pattern.captures(line)?;
        let host = found.name("host").map(|it| it.as_str()).filter(|it| !it.starts_with('<'));
        let command = viewer.command.replace("{host}", host.or(address)?);
        let display = found.name("display").map_or("", |it| it.as_str());
        Some(command.replace("{display}", display))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_installers_offer_becomes_a_command() {
        assert_eq!(
            toml::from_str::<File>(include_str!("../../data/viewers.toml"))
                .map(|it| it.viewer.len()),
            Ok(3)
        );
        let yast = "***           You can connect to <host>, display :1 now with vncviewer";
        for (line, address, expected) in [
            (
                "03:52:24 Please manually connect your vnc client to 192.168.122.212:1 to begin the install.",
                None,
                Some("vncviewer 192.168.122.212:1"),
            ),
            (yast, Some("10.0.0.7"), Some("vncviewer 10.0.0.7:1")),
            (yast, None, None),
            ("    ssh installer@9.114.34.82   ", None, Some("ssh installer@9.114.34.82")),
            (
                "Please manually connect your vnc client to begin the install.",
                Some("10.0.0.7"),
                None,
            ),
        ] {
            assert_eq!(viewer(line, address).as_deref(), expected, "{line}");
        }
    }
}
