//! What libosinfo's database says of a system: it fills what the catalogue
//! leaves open, and changes nothing that the catalogue states.

use super::Os;
use crate::answer::{Element, parse_xml};

/// Names that the database may have for the file of a system, such as
/// `fedora-20` in `os/fedoraproject.org/fedora-20.xml`.
pub fn names(os: &Os) -> Vec<String> {
    let mut names = vec![os.id.clone(), format!("{}-{}", os.family, os.version)];
    names.extend(os.aliases.iter().filter(|it| it.contains('-')).cloned());
    names.dedup();
    names
}

impl Os {
    /// Takes over from a file of the database what is not known yet, and returns
    /// the names of the keys. A file about something else gives nothing.
    pub fn fill_from_osinfo(&mut self, xml: &str) -> Vec<&'static str> {
        let Ok(root) = parse_xml(xml) else { return Vec::new() };
        let Some(entry) = root.find(&["os"]) else { return Vec::new() };
        let mut filled = Vec::new();
        let mut fill = |key, place: &mut Option<String>, value: Option<String>| {
            if place.is_none() && value.is_some() {
                *place = value;
                filled.push(key);
            }
        };
        let text = |name: &str| entry.find(&[name]).map(|it| it.text.trim().to_owned());
        fill("end-of-life", &mut self.end_of_life, text("eol-date"));
        let of_arch = |it: &&Element| {
            let arch = it.attribute("arch").unwrap_or_default();
            arch == "all" || self.arches.iter().any(|it| it.as_str() == arch)
        };
        let all = |name: &'static str, path: &'static [&'static str]| {
            let found = entry.children.iter().filter(move |it| it.name == name).filter(of_arch);
            found.filter_map(|it| Some(it.find(path)?.text.trim().to_owned())).collect::<Vec<_>>()
        };
        if let Some(tree) = &mut self.tree {
            fill(
                "tree.treeinfo-family",
                &mut tree.treeinfo_family,
                whole(&all("tree", &["treeinfo", "family"])),
            );
            fill(
                "tree.treeinfo-version",
                &mut tree.treeinfo_version,
                whole(&all("tree", &["treeinfo", "version"])),
            );
        }
        if let Some(iso) = &mut self.iso {
            fill("iso.volume-id", &mut iso.volume_id, any(&all("media", &["iso", "volume-id"])));
        }
        if !filled.is_empty() {
            self.sources.push(format!("osinfo-db: {}", filled.join(", ")));
        }
        filled
    }
}

/// The same as [`any`], for what is compared as a whole: libosinfo is content with
/// a part.
fn whole(patterns: &[String]) -> Option<String> {
    any(patterns).map(|it| format!(".*(?:{it}).*"))
}

/// One regex for several, without those that are none here.
fn any(patterns: &[String]) -> Option<String> {
    let mut all: Vec<_> = patterns.iter().filter(|it| regex::Regex::new(it).is_ok()).collect();
    all.sort();
    all.dedup();
    let all: Vec<_> = all.into_iter().map(|it| format!("(?:{it})")).collect();
    (!all.is_empty()).then(|| all.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    /// As `osinfo-db` writes it, shortened.
    const XML: &str = r#"<?xml version="1.0"?>
<libosinfo version="0.0.1"><os id="http://example.org/x/1">
  <short-id>x1</short-id><version>1</version><codename>Maipo</codename>
  <eol-date>2021-03-04</eol-date>
  <media arch="x86_64"><iso><volume-id>X-1.*x86_64</volume-id></iso></media>
  <media arch="x86_64"><iso><volume-id>X-1-netinst</volume-id></iso></media>
  <media arch="ppc64"><iso><volume-id>X-1.*ppc</volume-id></iso></media>
  <media arch="x86_64"><iso><volume-id>X(?!1)</volume-id></iso></media>
  <tree arch="x86_64"><treeinfo><family>X Linux</family><version>^1$</version></treeinfo></tree>
</os></libosinfo>"#;

    #[test]
    fn gaps_are_filled_and_nothing_else() {
        let mut os = (*Catalogue::built_in().get("fedora-20").unwrap()).clone();
        os.end_of_life = None;
        if let (Some(tree), Some(iso)) = (&mut os.tree, &mut os.iso) {
            (tree.treeinfo_family, iso.volume_id) = (None, None);
            tree.treeinfo_version = Some("20".to_owned());
        }
        let filled = os.fill_from_osinfo(XML);
        assert_eq!(filled, ["end-of-life", "tree.treeinfo-family", "iso.volume-id"]);
        assert_eq!(os.end_of_life.as_deref(), Some("2021-03-04"));
        assert_eq!(
            os.iso.as_ref().unwrap().volume_id.as_deref(),
            Some("(?:X-1-netinst)|(?:X-1.*x86_64)")
        );
        let family = os.tree.as_ref().unwrap().treeinfo_family.clone().unwrap();
        assert!(regex::Regex::new(&format!("^(?:{family})$")).unwrap().is_match("The X Linux"));
        assert_eq!(os.tree.as_ref().unwrap().treeinfo_version.as_deref(), Some("20"));
        assert!(os.sources.last().unwrap().starts_with("osinfo-db: end-of-life"));
        assert!(os.fill_from_osinfo(XML).is_empty());
        assert!(os.fill_from_osinfo("<libosinfo/>").is_empty());
        assert!(os.fill_from_osinfo("no xml").is_empty());
    }

    #[test]
    fn a_system_is_looked_for_by_the_names_of_the_database() {
        let of = |id: &str| names(&Catalogue::built_in().get(id).unwrap());
        assert!(of("fedora-20").contains(&"fedora-20".to_owned()));
        assert!(of("sles-12-sp5").contains(&"sles-12.5".to_owned()));
        assert!(of("alma-9").contains(&"almalinux-9".to_owned()));
    }
}
