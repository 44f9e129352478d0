//! Each request of a whole build in a cloud failed in turn, once and for good,
//! in every way there is: it ends, it is not called a success that is none, what
//! is left is told, and `cleanup` gives it back once the cloud is well again.
//!
//! The builds are held in this process, so that waits are short and many run
//! beside each other. What happens on this machine is left out: the boot disk is
//! a few bytes. `tests/openstack_outages.rs` does it with the program itself.
//! `IMGBUILD_ALL_FAULTS` fails every request, and what gives things back as well,
//! which takes its time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "how many cases there were is shown")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use futures_util::{StreamExt as _, stream};
use imgbuild::{
    CancellationToken,
    catalogue::Catalogue,
    engine::{Decision, Journal, Resource, Runner, StageCx, StageError, Teller, run, unwind},
    guard::Guard,
    installer,
    model::{BootMethod, Build, Platform},
    openstack::{
        Cloud, Error, Patience,
        fake::{FakeCloud, Fault, Manners, Thing, When, alike},
        preflight::{Makes, Wanted, flavor, gather, network},
        wait::Backoff,
    },
    plan::{self, Action, Plan, Stage, openstack::INPUTS, qemu::files},
    redact::Redactor,
    render::{self, Extras},
    runner::{Context, OpenstackRunner, Place, QemuRunner, Release, folder::RunFolder},
    source::Cache,
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};
use serde_json::{Value, json};

/// Builds at once.
const AT_ONCE: usize = 40;
/// The digest of what goes into these images.
const DIGEST: &str = "sha256:1234";
/// What a build may take, undoing included, where nothing can be given back.
const BOUND: Duration = Duration::from_mins(20);

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// An image of the hypervisor's disk.
    Image,
    /// A volume and its snapshot.
    Volume,
    /// An image of a volume, installed from an attached ISO.
    ImageOfVolume,
    /// A volume and its snapshot, the installer started from its kernel.
    DirectVolume,
}

const SHAPES: [Shape; 4] = [Shape::Image, Shape::Volume, Shape::ImageOfVolume, Shape::DirectVolume];

fn patience() -> Patience {
    let quick = Backoff::new(Duration::from_millis(4), Duration::from_millis(60));
    Patience {
        connect: Duration::from_secs(3),
        request: Duration::from_millis(1500),
        attempts: 3,
        total: Duration::from_secs(10),
        retry: quick,
        retry_after: Duration::from_millis(50),
        idle: Duration::from_secs(3),
        stored: Duration::from_secs(3),
        poll: quick,
        away: Duration::from_secs(4),
    }
}

struct NoTemplates;

impl render::TemplateLoader for NoTemplates {
    fn load(&self, _: &str) -> Option<String> {
        None
    }
}

/// A build and its plan.
struct Prepared {
    build: Build,
    plan: Plan,
    answers: String,
}

fn prepared(shape: Shape) -> Prepared {
    let source = match shape {
        Shape::ImageOfVolume => {
            "[source.iso]\nlocation = \"/dvd.iso\"\nkernel = \"k\"\ninitrd = \"i\""
        }
        _ => "[source.kernel]\nkernel = \"/k\"\ninitrd = \"/i\"",
    };
    let target = match shape {
        Shape::Volume | Shape::DirectVolume => "volume",
        _ => "glance",
    };
    let spec = format!(
        "version = 1\nname = \"quick\"\nos = \"quick\"\n{source}\n\
         [answer]\ntext = \"#imgbuild-quick\\nhostname = quickhost\\n\"\n\
         [install]\ndisk = \"1 GiB\"\ncpus = 1\ntimeout = \"2m\"\nidle = \"20s\"\n\
         boot = \"{}\"\n\
         [platform.openstack]\nvolume-backed = {}\n\
         [target.{target}]\nname = \"quick\"\n",
        if shape == Shape::DirectVolume { "direct" } else { "disk" },
        shape == Shape::ImageOfVolume
    );
    let os = fs_err::read_to_string(format!(
        "{}/tests/quick-installer/os.toml",
        env!("CARGO_MANIFEST_DIR")
    ));
    let files = BTreeMap::from([("os.toml".to_owned(), os.unwrap())]);
    let catalogue = Catalogue::built_in().with(&files).unwrap();
    let inputs = Inputs::default();
    let checked = check_text("quick.toml", &spec, Syntax::Toml, &inputs, &catalogue, Mode::Build);
    let build = checked.unwrap_or_else(|it| panic!("{:?}", it.reports())).build;
    let loader: Arc<dyn render::TemplateLoader> = Arc::new(NoTemplates);
    let extras = Extras { ssh_public_key: None };
    let answers = render::answer_file(&build, &loader, &extras).unwrap().expose().to_owned();
    let line = installer::kernel_command_line(&build, &installer::context(&build)).unwrap();
    let Platform::Openstack(settings) = &build.platform else { panic!("a cloud") };
    let plan = plan::openstack::plan(&build, settings, &build.target, &line.text());
    Prepared { build, plan, answers }
}

/// A cloud's runner; what is done on this machine is done already.
struct InCloud {
    runner: OpenstackRunner,
    folder: RunFolder,
}

#[async_trait(?Send)]
impl Runner for InCloud {
    async fn run(&self, stage: &Stage, cx: &mut StageCx<'_>) -> Result<Value, StageError> {
        match &stage.action {
            Action::Fetch { .. } => {
                let iso = self.folder.file("dvd.iso");
                fs_err::write(&iso, vec![5; 3000]).unwrap();
                let kernel = self.folder.file("k");
                fs_err::write(&kernel, vec![6; 1000]).unwrap();
                let file = json!({ "path": kernel, "sha256": "", "origin": "" });
                Ok(json!({ "kernel": file, "initrd": file, "iso": iso, "trust": "" }))
            }
            Action::BootDisk { boot: BootMethod::Direct, command_line, .. } => {
                Ok(json!({ "initrd": self.folder.file("k"), "command-line": command_line }))
            }
            Action::BootDisk { .. } => {
                fs_err::write(self.folder.file(files::BOOT_DISK), vec![7; 2000]).unwrap();
                Ok(Value::Null)
            }
            _ => self.runner.run(stage, cx).await,
        }
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.runner.release(resource).await
    }
}

/// Where the servers of a build are started, as the program finds it out.
async fn place(cloud: &Cloud) -> Result<Place, Error> {
    let wanted = Wanted {
        flavor: None,
        vcpus: 1,
        ram: 512,
        disk: 1,
        root_on_volume: false,
        network: None,
        port: None,
        floating_ip: None,
        security_groups: Vec::new(),
        volume_type: None,
        image: None,
        snapshot: None,
        user_data: 100,
        makes: Makes::default(),
    };
    let facts = gather(cloud, &wanted).await?;
    let flavors = facts.flavors.as_deref().unwrap_or_default();
    let lacks = |what: &'static str| Error::Missing {
        kind: what,
        name: String::new(),
        known: String::new(),
    };
    let flavor = flavor(flavors, &wanted).map_err(|_| lacks("flavor"))?;
    let network = network(&facts, &wanted).map_err(|_| lacks("network"))?;
    Ok(Place { flavor: flavor.id.clone(), network: network.map(|it| it.id.clone()), port: None })
}

/// Builds in a cloud that fails so. Returns the requests, and what is wrong with
/// how it ended.
async fn built(shape: Shape, fault: Option<(When, Fault)>) -> (Vec<String>, Option<String>) {
    let manners = Manners {
        guest: Some(Duration::from_millis(100)),
        console: ["imgbuild-quick: phase end", "IMGBUILD-DONE"].map(str::to_owned).into(),
        booted: vec!["quickhost login: ".to_owned()],
        console_when_off: true,
        delay: Duration::from_millis(20),
        ..Manners::default()
    };
    let fake = FakeCloud::start(manners).await.unwrap();
    let before = fake.things();
    let title = format!("{shape:?}, {fault:?}");
    if let Some((when, fault)) = fault {
        fake.fail(when, fault);
    }
    let began = Instant::now();
    let case = tokio::time::timeout(BOUND, case(shape, &fake, &before));
    let wrong = case.await.unwrap_or_else(|_| Err("it does not end".to_owned()));
    let wrong = wrong.err().map(|it| format!("{title}, {:?}: {it}", began.elapsed()));
    (fake.requests(), wrong)
}

async fn case(shape: Shape, fake: &FakeCloud, before: &[Thing]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let work = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    let Prepared { build, plan, answers } = prepared(shape);
    let folder = RunFolder::create(&work, "run").unwrap();
    let path = folder.file(RunFolder::JOURNAL);
    let journal = || Journal::open(&path, Redactor::default(), Teller::default()).unwrap();
    let release = |cloud: &Cloud| Release {
        cloud: Some(cloud.clone()),
        guard: Guard::new(env!("CARGO_BIN_EXE_imgbuild").into()),
    };
    let cloud = Cloud::new(fake.config(), patience(), CancellationToken::new()).unwrap();
    let place = match place(&cloud).await {
        Ok(place) => place,
        // Nothing was written.
        Err(_) if fake.things() == before => return Ok(()),
        Err(error) => return Err(format!("written before it was looked: {error}")),
    };
    let context = Context {
        build: Arc::new(build),
        answers: answers.into(),
        redactor: Redactor::default(),
        release: release(&cloud),
        cache: Cache::new(work.join("cache")),
        folder: folder.clone(),
        spec_folder: work.clone(),
        run: "run".to_owned(),
        inputs: DIGEST.to_owned(),
        digests: BTreeMap::new(),
        key: None,
        screenshots: false,
    };
    let runner =
        InCloud { runner: OpenstackRunner::new(QemuRunner::new(context), cloud, place), folder };
    let mut held = journal();
    let never = CancellationToken::new();
    let outcome =
        run(&plan, &runner, &mut held, &imgbuild::engine::Ends::new(never, None), &mut |_| {
            Decision::Cleanup
        })
        .await;
    let product = held.state().outputs.get("publish").and_then(|it| it["product"].as_str());
    let product = product.filter(|_| outcome.result.is_ok()).map(str::to_owned);
    let is_whole = product.as_deref().map(|it| whole(shape, fake, it));
    if let Some(Err(wrong)) = is_whole {
        return Err(format!("a false success: {wrong}"));
    }
    if outcome.result.is_ok() && product.is_none() {
        return Err("a success without a product".to_owned());
    }
    let reported: BTreeSet<&str> = outcome
        .leftovers
        .iter()
        .flat_map(|it| [Some(it.name.as_str()), it.id.as_deref()])
        .flatten()
        .collect();
    let volume = product.as_deref().and_then(|it| fake.record(it)).unwrap_or_default();
    let volume = volume["volume_id"].as_str().unwrap_or_default().to_owned();
    let strange = |things: Vec<Thing>| -> Vec<Thing> {
        let is_strange = |it: &Thing| {
            let is_product = Some(it.id.as_str()) == product.as_deref() || it.id == volume;
            // An ISO that is whole is kept for the next build.
            let is_medium = it.kind == "image" && it.name.starts_with("imgbuild-medium-");
            !(before.contains(it) || is_product || is_medium)
        };
        things.into_iter().filter(is_strange).collect()
    };
    let how = || match &outcome.result {
        Ok(()) => "success".to_owned(),
        Err(error) => format!("{error}: {}", error.source.causes().join(": ")),
    };
    let mut secret = strange(fake.things());
    // A port has no name of ours: it goes with its server.
    let has_server = secret.iter().any(|it| it.kind == "server");
    secret.retain(|it| {
        let is_told = reported.contains(it.name.as_str()) || reported.contains(it.id.as_str());
        let goes_with_it = it.kind == "port" && has_server;
        !(is_told || goes_with_it)
    });
    if !secret.is_empty() {
        return Err(format!("{secret:?} is left in secret; reported {reported:?}; {}", how()));
    }
    drop(held);
    fake.heal();
    // As `imgbuild cleanup` does, later.
    let cloud = Cloud::new(fake.config(), patience(), CancellationToken::new()).unwrap();
    let still = unwind(&release(&cloud), &mut journal(), outcome.result.is_err()).await;
    let left = strange(fake.things());
    if !(still.is_empty() && left.is_empty()) {
        return Err(format!("after the cleanup {left:?} is left, {still:?} held; {}", how()));
    }
    Ok(())
}

/// Whether a product is there and as it should be.
fn whole(shape: Shape, fake: &FakeCloud, product: &str) -> Result<(), String> {
    let Some(it) = fake.record(product) else { return Err(format!("there is no {product}")) };
    let is = |what: &Value, key: &str, value: Value| {
        if what[key] == value { Ok(()) } else { Err(format!("{key} is not {value}: {what}")) }
    };
    is(&it, "name", "quick".into())?;
    if matches!(shape, Shape::Volume | Shape::DirectVolume) {
        is(&it, "status", "available".into())?;
        is(&it["metadata"], INPUTS, DIGEST.into())?;
        let volume = fake.record(it["volume_id"].as_str().unwrap_or_default()).unwrap_or_default();
        is(&volume, "status", "available".into())?;
        is(&volume, "bootable", "true".into())?;
        is(&volume, "name", "quick".into())?;
        is(&volume["volume_image_metadata"], "kernel_id", Value::Null)?;
        return is(&volume["volume_image_metadata"], INPUTS, DIGEST.into());
    }
    is(&it, "status", "active".into())?;
    is(&it, INPUTS, DIGEST.into())?;
    let strange = plan::openstack::SERVERS_OWN.iter().find(|key| !it[**key].is_null());
    match strange {
        Some(key) => Err(format!("{key} is still there: {it}")),
        None if it["size"].as_u64().is_none_or(|it| it == 0) => Err(format!("empty: {it}")),
        None => Ok(()),
    }
}

/// Whether every request is failed, in every way: `make test-openstack-faults`.
fn is_all() -> bool {
    std::env::var_os("IMGBUILD_ALL_FAULTS").is_some()
}

async fn fail(cases: Vec<(Shape, When, Fault)>) {
    let (n_cases, began) = (cases.len(), Instant::now());
    let wrong: Vec<_> = stream::iter(cases)
        .map(|(shape, when, fault)| async move { built(shape, Some((when, fault))).await.1 })
        .buffer_unordered(AT_ONCE)
        .filter_map(|it| async { it })
        .collect()
        .await;
    eprintln!("{n_cases} builds in {:?}", began.elapsed());
    assert!(wrong.is_empty(), "{} of {n_cases} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The requests of good builds.
async fn requests(shape: Shape) -> Vec<String> {
    let (requests, wrong) = built(shape, None).await;
    assert_eq!(wrong, None);
    assert!(requests.len() > 30, "{requests:#?}");
    requests
}

#[tokio::test]
async fn whichever_request_of_a_build_fails_once() {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let requests = requests(shape).await;
        for (n, title) in requests.iter().enumerate() {
            let same = |it: &String| alike(it) == alike(title);
            let is_first = !requests[..n].iter().any(same);
            for (i, fault) in Fault::ALL.into_iter().enumerate() {
                // Each request once, the ways in turn.
                let is_chosen = is_first && (n + i) % Fault::ALL.len() == 0;
                if is_all() || is_chosen {
                    cases.push((shape, When::Nth(n), fault));
                }
            }
        }
    }
    fail(cases).await;
}

#[tokio::test]
async fn whichever_request_of_a_build_fails_for_good() {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let titles: BTreeSet<String> = requests(shape).await.iter().map(|it| alike(it)).collect();
        for (n, title) in titles.into_iter().enumerate() {
            // What cannot be given back is tried for minutes.
            let is_slow = title.starts_with("DELETE") || title.starts_with("GET");
            for (i, fault) in Fault::ALL.into_iter().enumerate() {
                if is_all() || !is_slow && (n + i) % 3 == 0 {
                    cases.push((shape, When::Alike(title.clone(), usize::MAX), fault));
                }
            }
        }
    }
    fail(cases).await;
}
