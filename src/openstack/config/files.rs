//! Where the texts are: files and the environment.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};

use super::{CloudConfig, ConfigError, Text, Texts, resolve};

/// How the cloud of this name is reached, or the one that `OS_CLOUD` and the
/// rest of the environment mean.
pub fn load(cloud: Option<&str>) -> Result<CloudConfig, Box<ConfigError>> {
    resolve(&read()?, cloud)
}

/// Reads the texts from the usual places.
fn read() -> Result<Texts, Box<ConfigError>> {
    let env: std::collections::BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| name.starts_with("OS_") && !value.is_empty())
        .collect();
    let folders = folders(&|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    let find = |variable: &'static str, stem: &str| match env.get(variable) {
        // The SDK goes on where it does not exist; a user who named it wants to know.
        Some(path) => match text(Utf8Path::new(path))? {
            Some(text) => Ok(Some(text)),
            None => Err(Box::new(ConfigError::NoFile { variable, path: path.clone() })),
        },
        None => first(&folders, stem),
    };
    let clouds = find("OS_CLIENT_CONFIG_FILE", "clouds")?;
    let mut secure = find("OS_CLIENT_SECURE_FILE", "secure")?;
    // A `secure.yaml` beside the file that was named belongs to it.
    if secure.is_none()
        && let Some(folder) = clouds.as_ref().and_then(|it| Utf8Path::new(&it.path).parent())
    {
        secure = first(&[folder.to_owned()], "secure")?;
    }
    let public = find("OS_CLIENT_VENDOR_FILE", "clouds-public")?;
    let home = std::env::var("HOME").ok().filter(|it| !it.is_empty()).map(Utf8PathBuf::from);
    Ok(Texts { clouds, secure, public, env, home })
}

/// The folders that are searched, in order.
fn folders(var: &dyn Fn(&str) -> Option<String>) -> Vec<Utf8PathBuf> {
    let config = var("XDG_CONFIG_HOME").map(Utf8PathBuf::from);
    let usual = var("HOME").map(|it| Utf8PathBuf::from(it).join(".config"));
    let own = [config, usual].into_iter().flatten().map(|it| it.join("openstack"));
    let machine = ["/etc/xdg/openstack", "/etc/openstack"].map(Utf8PathBuf::from);
    [Utf8PathBuf::new()].into_iter().chain(own).chain(machine).collect()
}

fn first(folders: &[Utf8PathBuf], stem: &str) -> Result<Option<Text>, Box<ConfigError>> {
    for folder in folders {
        for suffix in ["yaml", "yml", "json"] {
            match text(&folder.join(format!("{stem}.{suffix}"))) {
                Ok(Some(text)) => return Ok(Some(text)),
                Ok(None) => {}
                // One that others may read is not meant for us.
                Err(err) if is_denied(&err) => {}
                Err(err) => return Err(err),
            }
        }
    }
    Ok(None)
}

fn is_denied(err: &ConfigError) -> bool {
    matches!(err, ConfigError::Read(err) if err.kind() == ErrorKind::PermissionDenied)
}

fn text(path: &Utf8Path) -> Result<Option<Text>, Box<ConfigError>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(Text { path: path.to_string(), text })),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(err) => Err(Box::new(ConfigError::Read(err))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_folder_wins_over_the_user_s_and_that_over_the_machine_s() {
        let home = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
        let machine = ["/etc/xdg/openstack", "/etc/openstack"];
        assert_eq!(folders(&home), [&["", "/home/u/.config/openstack"], &machine[..]].concat());
        let moved = |name: &str| Some(if name == "HOME" { "/home/u" } else { "/c" }.to_owned());
        assert_eq!(folders(&moved)[1..3], ["/c/openstack", "/home/u/.config/openstack"]);
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let folders = [dir.join("a"), dir.join("b")];
        assert!(first(&folders, "clouds").unwrap().is_none());
        for (folder, name) in [(&folders[1], "clouds.yaml"), (&folders[0], "clouds.yml")] {
            fs_err::create_dir_all(folder).unwrap();
            fs_err::write(folder.join(name), name).unwrap();
            assert_eq!(first(&folders, "clouds").unwrap().unwrap().text, name);
        }
    }
}
