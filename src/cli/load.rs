//! Reads what a command names: a spec, or an answer file alone.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::{Arc, LazyLock, Mutex},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    arguments::{Overrides, PlatformName, SourceOverrides, TargetName, Values},
    failure::{Failure, Plain},
    generate,
    home::Home,
    templates::Templates,
};
use crate::{
    catalogue::{Catalogue, Os, osinfo},
    model::{
        Build, Checksums, CloudMedium, Compression, DiskFormat, FileTarget, GlanceTarget,
        Openstack, Platform, Source, Target, VolumeTarget,
    },
    plan::openstack::not_in_a_cloud,
    render::{self, Extras, RenderError, Rendered},
    spec::{
        self, Checked, Includes as _, Mode, SpecError, SpecErrors,
        document::{Node, Syntax},
        variables::{Inputs, VariableFile},
    },
};

/// A spec without a mistake, with where it came from.
pub(super) struct Loaded {
    /// What was read.
    pub checked: Checked,
    /// The folder that its files are in.
    pub folder: Utf8PathBuf,
    /// What to say of it, where it was worked out from an answer file alone.
    pub worked_out: Vec<String>,
}

impl Loaded {
    /// What the spec means.
    pub(super) fn build(&self) -> &Build {
        &self.checked.build
    }

    /// Renders the answer file.
    pub(super) fn render(&self, extras: &Extras) -> Result<Rendered, Failure> {
        let loader: Arc<dyn render::TemplateLoader> =
            Arc::new(Templates { folder: self.folder.clone() });
        render::answer_file(self.build(), &loader, extras).map_err(|error| match error {
            RenderError::NoTemplate { name } => self.no_template(&name),
            error => Failure::invalid(error),
        })
    }

    /// Says at the line that names it why there is no answer file.
    fn no_template(&self, name: &str) -> Failure {
        let files = Templates { folder: self.folder.clone() };
        let why = files.read(name).err().unwrap_or_default();
        let document = &self.checked.document;
        let node = ["template", "file"].iter().find_map(|it| document.find(&["answer", it]));
        let error = SpecError::new("no-template", format!("cannot read `{name}`: {why}"))
            .at(node.map(Node::pointer), "named here")
            .help("templates are looked for in the spec's folder, then among the built-in ones");
        Failure::invalid(SpecErrors::of_warnings(document, vec![error]))
    }
}

/// Reads a spec or an answer file, checks it, and applies what the command line
/// replaces. A matrix makes several builds of one spec.
pub(super) fn load_all(
    path: &Utf8Path,
    values: &Values,
    overrides: &Overrides,
    catalogue: &Catalogue,
    mode: Mode,
) -> Result<Vec<Loaded>, Failure> {
    let inputs = inputs(values)?;
    let help = "check the path; `imgbuild init debian-13` writes a spec to start from";
    let text = read_or(path, help)?;
    let folder = path.parent().filter(|it| !it.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let known = if path == STANDARD_INPUT {
        Some(syntax_of_spec(&text).ok_or_else(|| {
            Failure::usage(Plain::new(
                "standard input is no spec: it does not say `version`",
                "an answer file alone is built from a file; `imgbuild lint -` checks one",
            ))
        })?)
    } else {
        Syntax::of_file_name(path.as_str())
    };
    let (name, text, syntax, worked_out) = match known {
        Some(syntax) if !generate::is_answer_file(&text) => {
            (path.to_string(), text, syntax, vec![])
        }
        _ => {
            let generated = generate::spec_of_answer_file(path, &text, overrides, catalogue)?;
            (format!("(worked out from {path})"), generated.text, Syntax::Toml, generated.notes)
        }
    };
    let files = Templates { folder: folder.to_owned() };
    let document = spec::open(&name, &text, syntax, &files).map_err(Failure::invalid)?;
    let builds = spec::check_all(&document, &inputs, &WithOsinfo(catalogue), mode)
        .map_err(Failure::invalid)?;
    let mut all = Vec::new();
    for mut checked in builds {
        apply(&mut checked.build, overrides, catalogue)?;
        let worked_out = if all.is_empty() { worked_out.clone() } else { Vec::new() };
        all.push(Loaded { checked, folder: folder.to_owned(), worked_out });
    }
    Ok(all)
}

/// The path that stands for standard input. A spec that comes that way has its
/// files in the working folder.
pub(super) const STANDARD_INPUT: &str = "-";

/// The language of a spec that has no file name, by how it says its `version`.
fn syntax_of_spec(text: &str) -> Option<Syntax> {
    let after = text.lines().find_map(|it| it.strip_prefix("version"))?;
    match after.trim_start().chars().next()? {
        '=' => Some(Syntax::Toml),
        ':' => Some(Syntax::Yaml),
        _ => None,
    }
}

/// Applies what the command line replaces.
fn apply(build: &mut Build, overrides: &Overrides, catalogue: &Catalogue) -> Result<(), Failure> {
    if let Some(id) = &overrides.os {
        let os = catalogue.get(id).ok_or_else(|| unknown_os(id, catalogue))?;
        if os.id != build.os.id {
            return Err(Failure::usage(Plain::new(
                format!("the spec says `{}`, --os says `{id}`", build.os.id),
                "change `os` in the spec: its answer file is written for that system",
            )));
        }
    }
    if let Some(url) = &overrides.source.source_tree {
        build.source = Source::Tree {
            url: url.clone(),
            kernel: None,
            initrd: None,
            checksums: Checksums::default(),
            keyring: None,
        };
    }
    if let Some(location) = &overrides.source.source_iso {
        // Another ISO in its place is given to the machine as that one is.
        let attach = !matches!(&build.source, Source::Iso { attach: false, .. });
        build.source = Source::Iso {
            location: location.clone(),
            kernel: None,
            initrd: None,
            checksums: Checksums::default(),
            attach,
        };
    }
    place(build, overrides)?;
    if let (Some(output), Target::File(target)) = (&overrides.output, &mut build.target) {
        target.path.clone_from(output);
    }
    Ok(())
}

/// Where it is built and what is made, if the command line says so.
fn place(build: &mut Build, overrides: &Overrides) -> Result<(), Failure> {
    let target = overrides.target;
    let in_cloud = match (overrides.platform, target) {
        (Some(platform), _) => platform == PlatformName::Openstack,
        // A cloud or a target in one says enough.
        (None, Some(TargetName::Glance | TargetName::Volume)) => true,
        (None, _) => overrides.cloud.is_some() || matches!(build.platform, Platform::Openstack(_)),
    };
    if in_cloud {
        let mut settings = match std::mem::take(&mut build.platform) {
            Platform::Openstack(it) => it,
            Platform::Qemu(_) => Openstack::default(),
        };
        if let Some(cloud) = &overrides.cloud {
            settings.cloud = Some(cloud.clone());
        }
        settings.cache_media |= overrides.cache_media;
        if let Some(medium) = cloud_medium(overrides) {
            settings.medium = Some(medium);
        }
        if let Some((what, help)) = not_in_a_cloud(build, &settings).into_iter().next() {
            return Err(Failure::invalid(Plain::new(what, help)));
        }
        build.platform = Platform::Openstack(settings);
    } else if matches!(build.platform, Platform::Openstack(_)) {
        build.platform = Platform::default();
    }
    let refuse = |what: &str, help: &str| Err(Failure::usage(Plain::new(what, help)));
    if !in_cloud && cloud_medium(overrides).is_some() {
        return refuse(
            "an image or a volume snapshot is in a cloud, but the platform is QEMU on this machine",
            "use --platform openstack, or --source.iso",
        );
    }
    let name = build.name.clone();
    match (target, in_cloud) {
        (Some(TargetName::File), true) => {
            return refuse(
                "a file cannot be made in a cloud",
                "use --target glance or volume, or --platform qemu",
            );
        }
        (Some(TargetName::Glance | TargetName::Volume), false) => {
            return refuse(
                "this target is made in a cloud, but the platform is QEMU on this machine",
                "use --platform openstack, or --target file",
            );
        }
        // Of both that the spec describes, the one that is asked for.
        (Some(TargetName::Volume), true) if let Target::Volume(target) = &mut build.target => {
            target.image = None;
        }
        (Some(TargetName::Glance), true)
            if let Target::Volume(VolumeTarget { image: Some(image), .. }) = &build.target =>
        {
            build.target = Target::Glance(image.clone());
        }
        (Some(TargetName::Volume), true) if !matches!(build.target, Target::Volume(_)) => {
            build.target = Target::Volume(VolumeTarget { name, ..VolumeTarget::default() });
        }
        (Some(TargetName::Glance), true) if !matches!(build.target, Target::Glance(_)) => {
            build.target = Target::Glance(GlanceTarget { name, ..GlanceTarget::default() });
        }
        (None, true) if matches!(build.target, Target::File(_)) => {
            build.target = Target::Glance(GlanceTarget { name, ..GlanceTarget::default() });
        }
        (_, false) if !matches!(build.target, Target::File(_)) => {
            build.target = Target::File(FileTarget {
                path: format!("{name}.qcow2").into(),
                format: DiskFormat::Qcow2,
                compression: Compression::default(),
            });
        }
        _ => {}
    }
    Ok(())
}

/// The install medium in the cloud that the command line names.
fn cloud_medium(overrides: &Overrides) -> Option<CloudMedium> {
    let SourceOverrides { source_image, source_volume_snapshot, .. } = &overrides.source;
    let image = source_image.clone().map(CloudMedium::Image);
    image.or_else(|| source_volume_snapshot.clone().map(CloudMedium::VolumeSnapshot))
}

/// An operating system that the catalogue does not have.
pub(super) fn unknown_os(id: &str, catalogue: &Catalogue) -> Failure {
    let near = catalogue.near(id);
    let help = if near.is_empty() {
        "`imgbuild os list` shows those it knows".to_owned()
    } else {
        format!("did you mean {}? `imgbuild os list` shows all", near.join(", "))
    };
    Failure::usage(Plain::new(
        format!("there is no operating system `{id}` in the catalogue"),
        help,
    ))
}

/// The built-in catalogue and the user's own files.
pub(super) fn catalogue(home: &Home) -> Result<Catalogue, Failure> {
    let entries = match fs_err::read_dir(home.os.as_std_path()) {
        Ok(entries) => entries,
        Err(source) if home.is_os_named => {
            return Err(Failure::usage(Plain::io(
                format!("cannot read the catalogue folder `{}`", home.os),
                source,
            )));
        }
        Err(_) => return Ok(Catalogue::built_in()),
    };
    let mut files = BTreeMap::new();
    for path in
        entries.filter_map(Result::ok).filter_map(|it| Utf8PathBuf::try_from(it.path()).ok())
    {
        if path.extension() == Some("toml") {
            files.insert(path.to_string(), read(&path)?);
        }
    }
    Catalogue::built_in().with(&files).map_err(Failure::invalid)
}

/// A catalogue whose gaps are filled from libosinfo's database, where this
/// machine has it.
struct WithOsinfo<'a>(&'a Catalogue);

impl spec::OsLookup for WithOsinfo<'_> {
    fn get(&self, id: &str) -> Option<Arc<Os>> {
        self.0.get(id).map(filled)
    }

    fn ids(&self) -> Vec<String> {
        self.0.ids()
    }
}

/// Where libosinfo looks, the first first.
const OSINFO: [&str; 3] = ["/etc/osinfo/os", "/usr/local/share/osinfo/os", "/usr/share/osinfo/os"];

/// The folders of its vendors, which are looked for once.
static VENDORS: LazyLock<Vec<std::path::PathBuf>> = LazyLock::new(|| {
    let vendors = OSINFO.iter().filter_map(|it| fs_err::read_dir(it).ok()).flatten();
    vendors.filter_map(Result::ok).map(|it| it.path()).collect()
});

/// A system that was filled. The one it was made of is kept, as another catalogue
/// may have another of that ID.
#[derive(Clone)]
struct Filled {
    of: Arc<Os>,
    os: Arc<Os>,
}

/// Those that were filled, by their IDs: many specs are for the same few.
static FILLED: LazyLock<Mutex<HashMap<String, Filled>>> = LazyLock::new(Mutex::default);

/// A system with what libosinfo's database knows beyond the catalogue.
pub(super) fn filled(os: Arc<Os>) -> Arc<Os> {
    let known = FILLED.lock().ok().and_then(|it| it.get(&os.id).cloned());
    if let Some(known) = known.filter(|it| Arc::ptr_eq(&it.of, &os)) {
        return known.os;
    }
    let filled = fill(Arc::clone(&os));
    if let Ok(mut all) = FILLED.lock() {
        all.insert(os.id.clone(), Filled { of: os, os: Arc::clone(&filled) });
    }
    filled
}

fn fill(os: Arc<Os>) -> Arc<Os> {
    let names = osinfo::names(&os);
    let found = VENDORS.iter().find_map(|vendor| {
        let file = |name: &String| vendor.join(format!("{name}.xml"));
        names.iter().find_map(|it| fs_err::read_to_string(file(it)).ok())
    });
    let Some(xml) = found else { return os };
    let mut os = Arc::unwrap_or_clone(os);
    os.fill_from_osinfo(&xml);
    Arc::new(os)
}

/// Why a file cannot be read, in words of people.
pub(super) fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        kind => kind.to_string(),
    }
}

/// Reads a text file, or standard input where it is `-`. Text that is not UTF-8 is told.
pub(super) fn read(path: &Utf8Path) -> Result<String, Failure> {
    read_or(path, "check the path")
}

fn read_or(path: &Utf8Path, help: &str) -> Result<String, Failure> {
    let read = if path == STANDARD_INPUT {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs_err::read(path)
    };
    let bytes = read.map_err(|source| {
        Failure::usage(Plain::new(format!("cannot read `{path}`: {}", why(&source)), help))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|it| *it == b'\n').count();
        Failure::invalid(Plain::new(
            format!("{path}:{line}: this is not UTF-8 text"),
            "save the file as UTF-8",
        ))
    })
}

fn inputs(values: &Values) -> Result<Inputs, Failure> {
    let mut inputs = Inputs {
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        ..Inputs::default()
    };
    for path in &values.var_file {
        let syntax = Syntax::of_file_name(path.as_str()).ok_or_else(|| {
            Failure::usage(Plain::new(
                format!("cannot tell the language of `{path}`"),
                "name it .toml, .yaml or .yml",
            ))
        })?;
        inputs.files.push(VariableFile { name: path.to_string(), text: read(path)?, syntax });
    }
    for argument in &values.variables {
        inputs.add_argument(argument).map_err(Failure::usage)?;
    }
    Ok(inputs)
}

/// Prints warnings as people see them; with what the answer files use, also those
/// of variables that nothing uses.
pub(super) fn print_warnings(
    checked: &Checked,
    used: Option<&std::collections::BTreeSet<String>>,
    colours: bool,
) {
    let mut warnings = checked.warnings.clone();
    warnings.extend(used.map(|it| checked.unused_variables(it)).unwrap_or_default());
    if !warnings.is_empty() {
        super::failure::print(&SpecErrors::of_warnings(&checked.document, warnings), colours);
    }
}
