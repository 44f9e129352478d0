//! Where imgbuild keeps things, by the XDG base directory specification.

use camino::Utf8PathBuf;
use rustix::process::getuid;

use super::arguments::Everywhere;

/// The folders of one user.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// Runs in progress, and the logs of past ones.
    pub work: Utf8PathBuf,
    /// Downloads, and what was found out about this machine.
    pub cache: Utf8PathBuf,
    /// Catalogue files of the user's own.
    pub os: Utf8PathBuf,
    /// Whether the user named that folder, so that it has to be there.
    pub is_os_named: bool,
}

impl Home {
    /// The folders that the options name, else those of the XDG base directory
    /// specification below `home`.
    pub(crate) fn of(options: &Everywhere, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        // Without HOME, as in units and some CI, it is the one of the user database.
        let home = environment("HOME")
            .map(Utf8PathBuf::from)
            .or_else(|| std::env::home_dir().and_then(|it| it.try_into().ok()))
            .filter(|it| it.is_absolute())
            .unwrap_or_else(|| format!("/tmp/imgbuild-{}", getuid().as_raw()).into());
        let base = |variable: &str, below_home: &str| {
            environment(variable)
                .filter(|it| it.starts_with('/'))
                .map_or_else(|| home.join(below_home), Utf8PathBuf::from)
                .join("imgbuild")
        };
        Self {
            work: options
                .work_dir
                .clone()
                .unwrap_or_else(|| base("XDG_STATE_HOME", ".local/state")),
            cache: options.cache_dir.clone().unwrap_or_else(|| base("XDG_CACHE_HOME", ".cache")),
            os: options
                .os_dir
                .clone()
                .unwrap_or_else(|| base("XDG_CONFIG_HOME", ".config").join("os")),
            is_os_named: options.os_dir.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_environment_and_that_over_home() {
        let environment = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            "XDG_CACHE_HOME" => Some("/var/cache/me".to_owned()),
            "XDG_STATE_HOME" => Some("relative/is/ignored".to_owned()),
            _ => None,
        };
        let options =
            Everywhere { work_dir: None, cache_dir: None, os_dir: Some("/etc/os".into()) };
        let home = Home::of(&options, &environment);
        assert_eq!(home.work, "/home/me/.local/state/imgbuild");
        assert_eq!(home.cache, "/var/cache/me/imgbuild");
        assert_eq!(home.os, "/etc/os");
        assert!(home.is_os_named);
    }

    #[test]
    fn a_home_that_is_no_absolute_path_is_none() {
        for home in ["", "relative"] {
            let environment = |name: &str| (name == "HOME").then(|| home.to_owned());
            let options = Everywhere { work_dir: None, cache_dir: None, os_dir: None };
            let home = Home::of(&options, &environment);
            assert!(home.work.is_absolute() && home.cache.is_absolute(), "{home:?}");
            assert!(!home.is_os_named);
        }
    }
}
