//! The catalogue: systems by their names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::{Arc, LazyLock, OnceLock},
};

use include_dir::{Dir, include_dir};
use miette::NamedSource;
use toml::Spanned;

use super::{
    CatalogueError, Os,
    file::{File, Found, Kind, Names, Problem, Row, check, expand, names, resolve},
};
use crate::spec::OsLookup;

static DATA: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/os");

/// What all families may extend.
const BASES: &str = "bases.toml";

/// The operating systems there are. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Catalogue(Arc<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    systems: Vec<System>,
    /// Where the system of an id or alias is.
    by_name: HashMap<String, usize>,
    /// Where a base is that a row of any file may extend: the file's number.
    bases: HashMap<String, usize>,
    files: Vec<Arc<File>>,
}

/// A system, of which no more than the names is worked out until it is asked for.
#[derive(Clone, Debug)]
struct System {
    names: Names,
    row: Row,
    /// The number of its file.
    file: usize,
    os: OnceLock<Option<Arc<Os>>>,
}

impl Catalogue {
    /// What comes with imgbuild.
    pub fn built_in() -> Self {
        static BUILT_IN: LazyLock<Catalogue> = LazyLock::new(|| {
            let mut inner = Inner::default();
            let mut files: Vec<_> = DATA.files().collect();
            files.sort_by_key(|it| (!it.path().ends_with(BASES), it.path()));
            for file in files {
                let name = file.path().to_string_lossy();
                // Tests read each file; here a mistake in one costs its rows.
                _ = inner.add(&name, file.contents_utf8().unwrap_or_default(), Origin::BuiltIn);
            }
            Catalogue(Arc::new(inner))
        });
        BUILT_IN.clone()
    }

    /// The same with the user's own files, by name. They may extend systems by
    /// id, and replace those with the same id.
    pub fn with(&self, files: &BTreeMap<String, String>) -> Result<Self, CatalogueError> {
        if files.is_empty() {
            return Ok(self.clone());
        }
        // What is built in stays as it is when a user replaces what it extends.
        self.systems();
        let mut inner = (*self.0).clone();
        for (name, text) in files {
            inner.add(name, text, Origin::User)?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The system of this id or alias.
    pub fn get(&self, name: &str) -> Option<Arc<Os>> {
        let inner = &self.0;
        let place = inner
            .by_name
            .get(name)
            .or_else(|| inner.by_name.get(&name.trim().to_ascii_lowercase()))?;
        inner.os(inner.systems.get(*place)?)
    }

    /// All systems, families in alphabetical order, the newest release first.
    pub fn systems(&self) -> Vec<Arc<Os>> {
        self.0.systems.iter().filter_map(|it| self.0.os(it)).collect()
    }

    /// The systems with this codename, in the same order.
    pub fn of_codename(&self, codename: &str) -> impl Iterator<Item = Arc<Os>> {
        let systems = self.0.systems.iter();
        systems
            .filter(move |it| it.names.codename.as_deref() == Some(codename))
            .filter_map(|it| self.0.os(it))
    }

    /// The ids of all systems, in the same order.
    pub fn ids(&self) -> Vec<String> {
        self.0.systems.iter().map(|it| it.names.id.clone()).collect()
    }

    /// Ids and aliases that look like this name, the likeliest first.
    pub fn near(&self, name: &str) -> Vec<String> {
        let name = name.trim().to_ascii_lowercase();
        let likeness = |it: &str| strsim::jaro_winkler(&name, it);
        let mut near: Vec<_> = self
            .0
            .systems
            .iter()
            .map(|os| {
                let names = os.names.all();
                (names.map(|it| likeness(it)).fold(0.0, f64::max), &os.names.id)
            })
            .filter(|(likeness, _)| *likeness > 0.85)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.into_iter().take(3).map(|(_, id)| id.clone()).collect()
    }
}

impl OsLookup for Catalogue {
    fn get(&self, id: &str) -> Option<Arc<Os>> {
        Self::get(self, id)
    }

    fn ids(&self) -> Vec<String> {
        Self::ids(self)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    BuiltIn,
    User,
}

impl Inner {
    fn add(&mut self, name: &str, text: &str, origin: Origin) -> Result<(), CatalogueError> {
        let source = || Arc::new(NamedSource::new(name, text.to_owned()).with_language("TOML"));
        let file: File = toml::from_str(text).map_err(|error| CatalogueError::Format {
            message: error.message().trim().replace('\n', "; "),
            file: source(),
            at: error.span().map(Into::into),
        })?;
        let number = self.files.len();
        let file = Arc::new(file);
        self.files.push(file.clone());
        let find = |name: &str, file: usize| self.find(name, file);
        for row in file.base.values() {
            resolve(row, number, &find)
                .map_err(|it| located(it, &Spanned::new(0..0, row.clone()), source()))?;
        }
        let mut systems = Vec::new();
        for row in &file.os {
            let system = self.system(row.get_ref(), number, origin);
            systems.push((row, system.map_err(|it| located(it, row, source()))?));
        }
        let mut seen = HashSet::new();
        for (row, system) in &systems {
            if let Some(name) = system.names.all().find(|it| !seen.insert((*it).clone())) {
                let at = heading(&row.span(), text);
                return Err(CatalogueError::Twice {
                    name: name.clone(),
                    file: source(),
                    at: at.into(),
                });
            }
        }
        let systems: Vec<_> = systems.into_iter().map(|(_, it)| it).collect();
        if name.ends_with(BASES) && origin == Origin::BuiltIn {
            self.bases.extend(file.base.keys().map(|it| (it.clone(), number)));
        }
        for system in systems {
            self.put(system);
        }
        Ok(())
    }

    fn system(&self, row: &Row, file: usize, origin: Origin) -> Result<System, Problem> {
        let find = |name: &str, file: usize| self.find(name, file);
        let family = self.files.get(file).and_then(|it| it.family.as_deref());
        let names = names(row, family, file, &find)?;
        let mut system = System { names, row: row.clone(), file, os: OnceLock::new() };
        if origin == Origin::User {
            // Now, since it may replace what it extends.
            system.row = self.whole(&system)?;
            let os = expand(&system.row)?;
            check(&os)?;
            system.os = OnceLock::from(Some(Arc::new(os)));
        }
        Ok(system)
    }

    /// The row of a system with all that it extends.
    fn whole(&self, system: &System) -> Result<Row, Problem> {
        let find = |name: &str, file: usize| self.find(name, file);
        let mut whole = resolve(&system.row, system.file, &find)?;
        let family = self.files.get(system.file).and_then(|it| it.family.clone());
        whole.family = whole.family.or(family);
        Ok(whole)
    }

    /// A system, worked out when it is first asked for. Tests ask for each: a
    /// mistake in what is built in costs the system here.
    fn os(&self, system: &System) -> Option<Arc<Os>> {
        let make = || Some(Arc::new(expand(&self.whole(system).ok()?).ok()?));
        system.os.get_or_init(make).clone()
    }

    /// What a row may extend, by name: a base of its own file, a base of all
    /// files, a system.
    fn find(&self, name: &str, file: usize) -> Option<Found<'_>> {
        let base = |file: usize| {
            let row = self.files.get(file)?.base.get(name)?;
            Some(Found { row, file, kind: Kind::Base })
        };
        if let Some(found) = base(file).or_else(|| base(*self.bases.get(name)?)) {
            return Some(found);
        }
        let system = self.systems.get(*self.by_name.get(name)?)?;
        let family = self.files.get(system.file).and_then(|it| it.family.as_deref());
        Some(Found { row: &system.row, file: system.file, kind: Kind::System { family } })
    }

    fn put(&mut self, system: System) {
        let place = match self.by_name.get(&system.names.id) {
            Some(place)
                if self.systems.get(*place).is_some_and(|it| it.names.id == system.names.id) =>
            {
                *place
            }
            _ => self.systems.len(),
        };
        for name in system.names.all() {
            self.by_name.insert(name.clone(), place);
        }
        match self.systems.get_mut(place) {
            Some(old) => *old = system,
            None => self.systems.push(system),
        }
    }
}

fn located(problem: Problem, row: &Spanned<Row>, file: Arc<NamedSource<String>>) -> CatalogueError {
    let at = heading(&row.span(), file.inner()).into();
    let os = {
        let row = row.get_ref();
        row.id.clone().or_else(|| row.version.clone()).unwrap_or_else(|| "the system".to_owned())
    };
    match problem {
        Problem::Extends(name) => CatalogueError::Extends {
            at: name.span().into(),
            name: name.into_inner(),
            help: "`imgbuild os list` shows the systems; a base is a `[base.NAME]` of the same \
                   file, and must not extend itself"
                .to_owned(),
            file,
        },
        Problem::Missing(key) => CatalogueError::Incomplete { os, key, file, at },
        Problem::Value { message, help } => CatalogueError::Value { os, message, help, file, at },
    }
}

/// The first line of a row.
fn heading(span: &Range<usize>, text: &str) -> Range<usize> {
    let rest = text.get(span.start..).unwrap_or_default();
    span.start..span.start + rest.find('\n').unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::built_in().with(&BTreeMap::from([("my.toml".to_owned(), text.to_owned())]))
    }

    #[test]
    fn trees_are_known_by_the_families_that_public_treeinfos_have() {
        // CentOS 7 calls itself both ways, by release.
        for (id, family, is_it) in [
            ("centos-7.9", "CentOS", true),
            ("centos-7.3", "CentOS Linux", true),
            ("centos-7.9", "CentOS Stream", false),
            ("centos-8", "CentOS Linux", true),
            ("centos-8", "CentOS Stream", false),
            ("rhel-7.6", "Red Hat Enterprise Linux Server", true),
        ] {
            let tree = Catalogue::built_in().get(id).and_then(|it| it.tree.clone());
            let pattern = tree.and_then(|it| it.treeinfo_family).unwrap();
            let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            assert_eq!(whole.is_match(family), is_it, "{id}: {family}");
        }
    }

    #[test]
    fn a_user_adds_a_system_like_another_without_touching_rust() {
        let catalogue = with(
            "[[os]]\nextends = \"debian-13\"\nid = \"deepwater-1\"\nversion = \"1\"\n\
             codename = \"trench\"\ntree.url = \"http://mirror.example/deepwater\"\n",
        )
        .unwrap();
        let os = catalogue.get("deepwater-1").unwrap();
        assert_eq!(os.codename.as_deref(), Some("trench"));
        assert!(os.tree.as_ref().unwrap().kernel.starts_with("dists/trench/main/"));
        assert_eq!(catalogue.get("debian-13").unwrap().version, "13");
        assert_eq!(catalogue.ids().len(), Catalogue::built_in().ids().len() + 1);
    }

    #[test]
    fn a_system_with_the_same_id_replaces_the_built_in_one() {
        let catalogue = with(
            "[[os]]\nextends = \"debian-13\"\nid = \"debian-13\"\n\
             tree.url = \"http://mirror.example/debian\"\n",
        )
        .unwrap();
        let url = catalogue.get("debian-13").unwrap().tree.as_ref().unwrap().url.clone();
        assert_eq!(url.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(catalogue.ids(), Catalogue::built_in().ids());
    }

    #[test]
    fn mistakes_point_at_their_line() {
        for (text, message, line) in [
            ("[[os]]\nextends = \"debian-13\"\nversoin = \"1\"\n", "unknown field `versoin`", 3),
            ("[[os]]\nextends = \"debain-13\"\n", "no base and no system `debain-13`", 2),
            ("\n[[os]]\nid = \"x\"\nfamily = \"x\"\nversion = \"1\"\n", "`x` has no `arches`", 2),
            ("[[os]]\nextends = \"debian-13\"\nmachine.memory = \"8\"\n", "has no unit", 3),
            (
                "[[os]]\nextends = \"debian-13\"\niso.volume-id = \"(\"\n",
                "no regular expression",
                1,
            ),
            ("[[os]]\nextends = \"debian-13\"\ntitle = \"{name}\"\n", "fill `{name}` in", 1),
            ("[base.a]\nextends = \"a\"\n", "no base and no system `a`", 2),
            ("[[os]]\nextends = \"debian-13\"\narches = [\"vax\"]\n", "unknown variant `vax`", 3),
            (
                "[[os]]\nextends = \"debian-13\"\nid = \"a\"\n[[os]]\nextends = \"debian-13\"\nid = \"a\"\n",
                "`a` is there twice",
                4,
            ),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            let labels: Vec<_> = miette::Diagnostic::labels(&error).unwrap().collect();
            let start = labels[0].offset();
            assert_eq!(text[..start].matches('\n').count() + 1, line, "{error}");
        }
    }

    #[test]
    fn names_that_are_nearly_right_are_found() {
        let catalogue = Catalogue::built_in();
        assert_eq!(catalogue.near("debain-13").first().map(String::as_str), Some("debian-13"));
        assert_eq!(catalogue.near("trixei").first().map(String::as_str), Some("debian-13"));
        assert!(catalogue.near("plan9").is_empty());
    }

    #[test]
    fn every_built_in_file_is_right() {
        let mut inner = Inner::default();
        let mut files: Vec<_> = DATA.files().collect();
        files.sort_by_key(|it| (!it.path().ends_with(BASES), it.path()));
        for file in files {
            let name = file.path().to_string_lossy();
            let added = inner.add(&name, file.contents_utf8().unwrap(), Origin::BuiltIn);
            added.unwrap_or_else(|it| panic!("{:?}", miette::Report::new(it)));
        }
        for system in &inner.systems {
            let os = inner.whole(system).and_then(|it| expand(&it)).unwrap();
            assert_eq!((&os.id, &os.aliases), (&system.names.id, &system.names.aliases));
            assert_eq!(os.codename, system.names.codename);
            check(&os).unwrap_or_else(|it| panic!("{}: {it:?}", os.id));
        }
    }

    #[test]
    fn a_tree_says_the_name_of_its_system() {
        for (id, family) in [
            ("fedora-20", "Fedora"),
            ("fedora-21", "Fedora-Server"),
            ("rhel-7.6", "Red Hat Enterprise Linux"),
            ("opensuse-15.1", "openSUSE Leap"),
        ] {
            let os = Catalogue::built_in().get(id).unwrap();
            let regex = os.tree.as_ref().unwrap().treeinfo_family.clone().unwrap();
            let regex = regex::Regex::new(&format!("^(?:{regex})$")).unwrap();
            assert!(regex.is_match(family), "{id}: {family}");
            assert!(!regex.is_match("Another Linux"), "{id}");
        }
    }
}
