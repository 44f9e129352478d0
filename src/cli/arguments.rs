//! The commands and their options, as clap reads them.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Build OS images from a spec, with each system's own installer
///
/// A spec in TOML or YAML names the OS, where its installer comes from, an answer
/// file (kickstart, preseed, AutoYaST, autoinstall) and a target. imgbuild runs
/// the installer in QEMU, watches it to the end, boots the result to prove it,
/// and only then gives it its name.
#[derive(Debug, Parser)]
#[command(name = "imgbuild", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit status: 0 done, 1 failed and nothing left behind, 2 wrong usage, \
    3 a spec or an answer file is not valid, 4 something was left behind, 130 interrupted. \
    Of several builds the worst counts: 4, then 130, then 3, 2, 1.")]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    /// Options of every command
    pub everywhere: Everywhere,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Everywhere {
    /// Folder for runs in progress [default: `$XDG_STATE_HOME/imgbuild`]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "IMGBUILD_WORK_DIR",
        hide_env_values = true
    )]
    pub work_dir: Option<Utf8PathBuf>,
    /// Folder for downloads [default: `$XDG_CACHE_HOME/imgbuild`]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "IMGBUILD_CACHE_DIR",
        hide_env_values = true
    )]
    pub cache_dir: Option<Utf8PathBuf>,
    /// Folder with OS catalogue files of your own [default: `$XDG_CONFIG_HOME/imgbuild/os`]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "IMGBUILD_OS_DIR",
        hide_env_values = true
    )]
    pub os_dir: Option<Utf8PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a spec and its answer file, ready to edit and commit
    Init(Init),
    /// Make specs of Oz, Packer and nova-image-builder descriptions
    Import(Import),
    /// Check specs and answer files; every mistake, each at its line
    Validate(Validate),
    /// Show what the installer will get; secrets are masked
    Render(Render),
    /// Show every stage and what it will create; changes nothing
    Plan(Plan),
    /// Build images
    Build(Build),
    /// Check an answer file against its installer
    Lint(Lint),
    /// Find in a console log what an installer did and why it failed
    Explain(Explain),
    /// Show runs, or one of them
    Runs(Runs),
    /// Give back what builds that were killed left behind
    Cleanup(Cleanup),
    /// Show a run's console, and follow it while it is written
    Console(Console),
    /// Say what this machine or a cloud can do, and what is missing
    Doctor(Doctor),
    /// Serve what tests of your own need
    Test(Test),
    /// The operating systems that are known
    Os(Os),
    /// Print the JSON Schema of specs
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// A spec and its values.
#[derive(Clone, Debug, Args)]
pub struct SpecArguments {
    /// A spec (.toml, .yaml; - for standard input), or an answer file alone
    pub spec: Utf8PathBuf,
    #[command(flatten)]
    /// Values of variables
    pub values: Values,
    #[command(flatten)]
    /// What replaces parts of the spec
    pub overrides: Overrides,
    /// Of a matrix, the builds with this value, such as os=rocky-9
    #[arg(long, value_name = "AXIS=VALUE")]
    pub only: Vec<String>,
}

/// Values of variables.
///
/// Later ones win: the spec's default, the environment variable a variable
/// names, `IMGBUILD_VAR_<name>`, --var-file in order, -v.
#[derive(Clone, Debug, Default, Args)]
pub struct Values {
    /// Set a variable
    #[arg(short = 'v', long = "var", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Read variables from a TOML or YAML file
    #[arg(long, value_name = "FILE")]
    pub var_file: Vec<Utf8PathBuf>,
}

/// What replaces parts of a spec, or completes an answer file alone.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// The operating system, by its ID in `imgbuild os list`
    #[arg(long, value_name = "ID")]
    pub os: Option<String>,
    #[command(flatten)]
    /// What replaces the spec's source
    pub source: SourceOverrides,
    /// Where the image goes
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Where the installer runs
    #[arg(long, value_enum)]
    pub platform: Option<PlatformName>,
    /// The cloud, by its name in clouds.yaml [default: `$OS_CLOUD`]
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
    /// What is made
    #[arg(long, value_enum)]
    pub target: Option<TargetName>,
    /// Keep boot disk, kernel and initrd in the cloud for the next build
    ///
    /// `imgbuild cleanup --cache` removes them.
    #[arg(long)]
    pub cache_media: bool,
}

/// What replaces the spec's source.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceOverrides {
    /// The install tree's URL
    #[arg(long = "source.tree", value_name = "URL")]
    pub source_tree: Option<String>,
    /// The install ISO, a path or a URL
    #[arg(long = "source.iso", value_name = "PATH|URL", conflicts_with = "source_tree")]
    pub source_iso: Option<String>,
    /// The install medium as an image that the cloud has; kernel and initrd come from the spec's source
    #[arg(long = "source.image", value_name = "NAME|ID")]
    pub source_image: Option<String>,
    /// The install medium as a volume snapshot that the cloud has
    #[arg(
        long = "source.volume-snapshot",
        value_name = "NAME|ID",
        conflicts_with = "source_image"
    )]
    pub source_volume_snapshot: Option<String>,
}

/// Where an installer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlatformName {
    /// QEMU on this machine
    Qemu,
    /// A server of an OpenStack cloud
    Openstack,
}

/// What is made of the installed disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetName {
    /// A file on this machine
    File,
    /// An image in Glance
    Glance,
    /// A volume in Cinder and its snapshot
    Volume,
}

/// Write a spec.
#[derive(Debug, Args)]
pub struct Init {
    /// The operating system, by its ID in `imgbuild os list`
    #[arg(required_unless_present = "from")]
    pub os: Option<String>,
    /// Work everything out from an answer file that you have
    #[arg(long, value_name = "FILE")]
    pub from: Option<Utf8PathBuf>,
    /// Folder to write to
    #[arg(long, default_value = ".")]
    pub dir: Utf8PathBuf,
    /// Write YAML instead of TOML
    #[arg(long)]
    pub yaml: bool,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

/// Make specs of what other tools describe.
#[derive(Debug, Args)]
pub struct Import {
    /// An Oz TDL, or a Packer template (.pkr.hcl, .json)
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub file: Option<Utf8PathBuf>,
    /// Folder to write to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: Utf8PathBuf,
    /// The operating system, where it cannot be told
    #[arg(long, value_name = "ID")]
    pub os: Option<String>,
    #[command(flatten)]
    /// Values of Packer's variables
    pub values: Values,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// A command line of nova-install or `create_image.py`
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Check specs.
#[derive(Debug, Args)]
pub struct Validate {
    /// Specs (.toml, .yaml), folders of them, and answer files; - for a spec on standard input
    #[arg(required = true, value_name = "SPEC|DIRECTORY")]
    pub specs: Vec<Utf8PathBuf>,
    /// Also ask this machine's validators (ksvalidator, debconf, xmllint), which
    /// take their time; they decide
    #[arg(long)]
    pub validators: bool,
    /// Mend answer files that reboot, halt or ask, and show what was written
    #[arg(long)]
    pub fix: bool,
    #[command(flatten)]
    /// Values of variables
    pub values: Values,
    #[command(flatten)]
    /// What replaces the spec's source
    pub source: SourceOverrides,
    /// How to print what is wrong
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
}

/// How reports are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Human,
    /// A JSON document
    Json,
}

/// Show what the installer gets.
#[derive(Debug, Args)]
pub struct Render {
    #[command(flatten)]
    /// The spec
    pub spec: SpecArguments,
    /// The answer file alone, for other tools to read
    #[arg(long)]
    pub answer: bool,
}

/// Show a plan.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    /// The spec
    pub spec: SpecArguments,
    /// How to print it
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
    /// Ask no server what would have to be fetched
    #[arg(long)]
    pub offline: bool,
}

/// Build images.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Build {
    /// Specs (.toml, .yaml), folders of them, or an answer file alone
    #[arg(required = true, value_name = "SPEC|DIRECTORY")]
    pub specs: Vec<Utf8PathBuf>,
    #[command(flatten)]
    /// Values of variables
    pub values: Values,
    #[command(flatten)]
    /// What replaces parts of the specs
    pub overrides: Overrides,
    /// Of a matrix, the builds with this value, such as os=rocky-9
    #[arg(long, value_name = "AXIS=VALUE")]
    pub only: Vec<String>,
    /// How many builds run at once, at most
    ///
    /// First come, first served. In a cloud only as many as its quotas have room for; the others
    /// wait until one of them ends.
    #[arg(short, long, value_name = "N", default_value = "1")]
    pub jobs: std::num::NonZeroU16,
    /// Stop all builds as soon as one fails
    #[arg(long)]
    pub fail_fast: bool,
    /// How to show what happens
    #[arg(long, value_enum, default_value_t = BuildFormat::Auto)]
    pub format: BuildFormat,
    /// What to do when a stage fails
    #[arg(long, value_enum, default_value_t = OnError::Cleanup)]
    pub on_error: OnError,
    /// The whole build must end within this, such as 45m
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<crate::units::Span>,
    /// Build even if nothing has changed since the image was made
    #[arg(long)]
    pub force: bool,
    /// Mend answer files that reboot, halt or ask, and show what was written
    #[arg(long)]
    pub fix: bool,
    /// Take a picture of the screen at each phase of the installer (QEMU)
    ///
    /// They are kept with the run and shown in its report. A failure has one in any case.
    #[arg(long)]
    pub screenshots: bool,
    /// Go on with a run that was killed or kept, by its ID
    #[arg(long, value_name = "RUN")]
    pub resume: Option<String>,
}

/// How a build is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildFormat {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Plain lines
    Plain,
    /// JSON lines on standard output
    Json,
    /// Warnings and the end only
    Quiet,
}

/// What to do when a stage fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Remove everything but logs and screenshots
    Cleanup,
    /// Leave everything where it is
    Keep,
    /// Ask
    Ask,
}

/// Check an answer file.
#[derive(Debug, Args)]
pub struct Lint {
    /// The answer files; - for standard input
    #[arg(required = true)]
    pub files: Vec<Utf8PathBuf>,
    /// Ask none of this machine's validators (ksvalidator, debconf, xmllint)
    #[arg(long)]
    pub built_in: bool,
    /// Ask them also of more than 16 files
    #[arg(long, conflicts_with = "built_in")]
    pub validators: bool,
    /// The operating system it is for, where the file does not say so
    #[arg(short = 'v', long = "os", value_name = "ID")]
    pub os: Option<String>,
    /// Mend what reboots, halts or asks, and show what was written
    #[arg(long)]
    pub fix: bool,
    /// How to print what is wrong
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
}

/// Explain a console log.
#[derive(Debug, Args)]
pub struct Explain {
    /// The log; - for standard input
    pub log: Utf8PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
}

/// Show runs.
#[derive(Debug, Args)]
pub struct Runs {
    /// One run, by its ID
    pub run: Option<String>,
}

/// Give back what was left.
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Runs, by ID; all that are dead where none is named
    pub runs: Vec<String>,
    /// Remove the logs of ended runs as well
    #[arg(long)]
    pub logs: bool,
    /// Remove what builds keep in the cloud for the next: boot media, ISOs
    #[arg(long)]
    pub cache: bool,
    /// Give back what builds of other machines, or of a work folder that is lost,
    /// left in the cloud. Only such as began so long ago, which is longer than any
    /// of them may run: `1d`
    #[arg(long, value_name = "AGE", conflicts_with = "runs")]
    pub lost: Option<crate::units::Span>,
    /// The cloud they were in, as in clouds.yaml [default: the one the build used]
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
}

/// Show a console.
#[derive(Debug, Args)]
pub struct Console {
    /// The run, by its ID; the newest where none is named
    pub run: Option<String>,
    /// The cloud its server is in, as in clouds.yaml [default: `$OS_CLOUD`, or the only one]
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
    /// End where the log ends now
    #[arg(long)]
    pub no_follow: bool,
}

/// Serve what tests need.
#[derive(Debug, Args)]
pub struct Test {
    /// Serve an OpenStack of pretence on loopback until Ctrl-C
    ///
    /// Keystone, Glance, Nova, Neutron and Cinder with their states and delays. It keeps no data.
    #[arg(long, required = true)]
    pub fake_cloud: bool,
    /// The port it listens on; any free one where not given
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Write the clouds.yaml here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub clouds_yaml: Option<Utf8PathBuf>,
    /// Fail requests, such as 'POST /servers=503' or 'GET /images=truncated*2'
    ///
    /// METHOD (or *) and a part of the path, then how: refused, broken (500), unavailable (503),
    /// expired (401), conflict (409), no-answer, reply-lost, truncated; then how often, else always.
    #[arg(long, value_name = "METHOD PATH=HOW[*N]")]
    pub fail: Vec<crate::openstack::fake::Rule>,
    /// What its guests say on their console, a line at a time
    #[arg(long, value_name = "FILE")]
    pub console: Option<Utf8PathBuf>,
    /// What guests say that boot without user-data, as an installed system does; they run on
    #[arg(long, value_name = "FILE")]
    pub booted: Option<Utf8PathBuf>,
    /// How long its guests run until they power off
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub guest: crate::units::Span,
    /// Forget the console of a server that is off, as Nova does by default
    #[arg(long)]
    pub forget_console: bool,
    /// Leave a service out, such as `cinder`
    #[arg(long, value_name = "SERVICE")]
    pub without: Vec<crate::openstack::Service>,
    /// So many servers, volumes, snapshots and ports there may be of each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub quota: usize,
    /// How long its tokens live
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub token_life: crate::units::Span,
}

/// Say what this machine can do.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look at this cloud of clouds.yaml, instead of at QEMU
    #[arg(long, value_name = "NAME")]
    pub cloud: Option<String>,
    /// The architecture of images to build
    #[arg(long, default_value = "x86_64")]
    pub arch: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
}

/// The operating systems that are known.
#[derive(Debug, Args)]
pub struct Os {
    /// What to show
    #[command(subcommand)]
    pub command: OsCommand,
}

/// What to show of the catalogue.
#[derive(Debug, Subcommand)]
pub enum OsCommand {
    /// Every system, a line each
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// All that is known about one system
    Show {
        /// Its ID, such as debian-13
        id: String,
    },
    /// Add a catalogue file of your own
    Add {
        /// The file
        file: Utf8PathBuf,
    },
}
