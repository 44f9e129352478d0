//! Where imgbuild keeps things, by the XDG base directory specification.

use camino::Utf8PathBuf;

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
}

impl Home {
    /// The folders that the options name, else those of the XDG base directory
    /// specification below `home`.
    pub(crate) fn of(options: &Everywhere, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let home = environment("HOME").unwrap_or_else(|| "/tmp".to_owned());
        let base = |variable: &str, below_home: &str| {
            environment(variable)
                .filter(|it| it.starts_with('/'))
                .map_or_else(|| Utf8PathBuf::from(&home).join(below_home), Utf8PathBuf::from)
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
    }
}
