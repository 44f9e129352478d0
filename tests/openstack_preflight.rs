//! What a build needs of a cloud is found out before the first write, and
//! finding it out writes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use imgbuild::{
    CancellationToken,
    openstack::{
        Cloud, Error, Patience, Service,
        config::{Auth, Scope},
        fake::{FakeCloud, Fault, Manners, RouterTo, When},
        preflight::{Makes, Wanted, survey},
        wait::Backoff,
    },
    platform::{Check, Grade},
};

const QUICK: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(5));

fn connect(fake: &FakeCloud, cancel: CancellationToken) -> Cloud {
    let patience = Patience { attempts: 2, retry: QUICK, poll: QUICK, ..Patience::default() };
    Cloud::new(fake.config(), patience, cancel).unwrap()
}

async fn look(manners: Manners, wanted: &Wanted) -> (Vec<Check>, FakeCloud) {
    let fake = FakeCloud::start(manners).await.unwrap();
    let cloud = connect(&fake, CancellationToken::new());
    (survey(&cloud, wanted).await.unwrap(), fake)
}

fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no {name}: {checks:#?}"))
}

#[tokio::test]
async fn a_cloud_that_has_everything_is_good_and_is_only_read() {
    let wanted = Wanted {
        flavor: Some("build".into()),
        network: Some("private".into()),
        floating_ip: Some("public".into()),
        security_groups: vec!["build".into()],
        volume_type: Some("rbd".into()),
        user_data: 4000,
        makes: Makes {
            servers: 2,
            ports: 2,
            images: 2,
            volumes: 2,
            snapshots: 1,
            gigabytes: 18,
            ..Makes::default()
        },
        ..Wanted::default()
    };
    let (checks, fake) = look(Manners::default(), &wanted).await;
    assert!(checks.iter().all(|it| it.grade == Grade::Good), "{checks:#?}");
    assert_eq!(named(&checks, "flavor").found, "`build` (1 CPU, 1536 MiB, 6 GiB)");
    assert_eq!(named(&checks, "way out").found, "a router leads to `public`");
    assert!(named(&checks, "nova").found.ends_with("/compute/v2.1, 2.93"), "{checks:#?}");
    for name in ["login", "network", "quota of nova", "quota of cinder", "user-data", "volume type"]
    {
        named(&checks, name);
    }
    let writes: Vec<_> = fake.requests().into_iter().filter(|it| !it.starts_with("GET")).collect();
    assert_eq!(writes, ["POST /identity/v3/auth/tokens"]);
    assert!(fake.requests().len() < 25, "{:#?}", fake.requests());
}

#[tokio::test]
async fn every_lack_of_a_cloud_has_its_remedy() {
    type Case = (Manners, Wanted, &'static str, Grade, &'static str, &'static str);
    let it = Manners::default;
    let wants = Wanted::default;
    let cases: Vec<Case> = vec![
        (
            Manners { roles: vec!["reader".into()], ..it() },
            wants(),
            "login",
            Grade::Missing,
            "may look and not create",
            "`member`",
        ),
        (
            Manners { roles: vec![], ..it() },
            wants(),
            "login",
            Grade::Warning,
            "no role",
            "`member`",
        ),
        (
            Manners { without: vec![Service::Image], ..it() },
            wants(),
            "glance",
            Grade::Missing,
            "the cloud has no glance",
            "its catalogue has",
        ),
        (
            Manners { without: vec![Service::Volume], ..it() },
            wants(),
            "cinder",
            Grade::Warning,
            "none",
            "volumes, and install ISOs",
        ),
        (
            Manners { without: vec![Service::Volume], ..it() },
            Wanted { makes: Makes { volumes: 1, ..Makes::default() }, ..wants() },
            "cinder",
            Grade::Missing,
            "none",
            "target `glance`",
        ),
        (
            Manners { microversion: 60, ..it() },
            Wanted { root_on_volume: true, volume_type: Some("rbd".into()), ..wants() },
            "nova",
            Grade::Missing,
            "`volume-type` needs 2.67",
            "leave `volume-type` out",
        ),
        (
            it(),
            Wanted { volume_type: Some("fast".into()), ..wants() },
            "volume type",
            Grade::Missing,
            "`fast`",
            "`rbd`",
        ),
        (
            it(),
            Wanted { flavor: Some("huge".into()), ..wants() },
            "flavor",
            Grade::Missing,
            "there is no flavor `huge`",
            "`tiny`",
        ),
        (
            it(),
            Wanted { flavor: Some("tiny".into()), ram: 1024, ..wants() },
            "flavor",
            Grade::Missing,
            "512 MiB of memory of 1024",
            "use `build`",
        ),
        (
            it(),
            Wanted { flavor: Some("tiny".into()), disk: 4, ..wants() },
            "flavor",
            Grade::Missing,
            "2 GiB of disk of 4",
            "use `build`",
        ),
        (
            it(),
            Wanted { flavor: Some("tiny".into()), vcpus: 2, ..wants() },
            "flavor",
            Grade::Warning,
            "where 2 CPUs are asked for",
            "it takes longer",
        ),
        (
            it(),
            Wanted { disk: 100, ..wants() },
            "flavor",
            Grade::Missing,
            "100 GiB of disk",
            "volume-backed = true",
        ),
        (
            Manners { flavors: vec![("flex".into(), 2048, 0)], ..it() },
            Wanted { flavor: Some("flex".into()), ..wants() },
            "flavor",
            Grade::Missing,
            "no disk of its own",
            "volume-backed = true",
        ),
        (
            Manners { flavors: vec![], ..it() },
            wants(),
            "flavor",
            Grade::Missing,
            "none has",
            "operators",
        ),
        (
            Manners { networks: vec![], ..it() },
            wants(),
            "network",
            Grade::Missing,
            "no network",
            "create a network",
        ),
        (
            Manners { networks: vec!["a".into(), "b".into()], ..it() },
            wants(),
            "network",
            Grade::Missing,
            "several: `a`, `b`",
            "platform.openstack.network",
        ),
        (
            it(),
            Wanted { network: Some("office".into()), ..wants() },
            "network",
            Grade::Missing,
            "no network `office`",
            "`private`",
        ),
        (
            Manners { dhcp: false, ..it() },
            wants(),
            "network",
            Grade::Missing,
            "DHCP is off",
            "--dhcp",
        ),
        (
            Manners { router: RouterTo::Nowhere, ..it() },
            wants(),
            "way out",
            Grade::Warning,
            "`router` at `private` leads nowhere",
            "--external-gateway",
        ),
        (
            Manners { router: RouterTo::Missing, ..it() },
            wants(),
            "way out",
            Grade::Warning,
            "no router",
            "connect it",
        ),
        (
            Manners { router: RouterTo::Missing, ..it() },
            Wanted { floating_ip: Some("public".into()), ..wants() },
            "way out",
            Grade::Missing,
            "no router leads from `private` to `public`",
            "`floating-ip`",
        ),
        (
            it(),
            Wanted { security_groups: vec!["gone".into()], ..wants() },
            "security group gone",
            Grade::Missing,
            "there is no security group `gone`",
            "",
        ),
        (
            Manners { quota: 0, ..it() },
            wants(),
            "quota of nova",
            Grade::Missing,
            "0 of 0 servers are used and 1 more are wanted",
            "larger quota",
        ),
        (
            it(),
            Wanted { makes: Makes { servers: 40, ..Makes::default() }, ..wants() },
            "quota of nova",
            Grade::Missing,
            "0 of 20 cores are used and 40 more",
            "larger quota",
        ),
        (
            it(),
            Wanted { makes: Makes { gigabytes: 2000, ..Makes::default() }, ..wants() },
            "quota of cinder",
            Grade::Missing,
            "0 of 1000 GiB",
            "larger quota",
        ),
        (
            Manners { quota: 1, ..it() },
            wants(),
            "quota of neutron",
            Grade::Missing,
            "1 of 1 ports",
            "larger quota",
        ),
        (
            it(),
            Wanted { user_data: 49_150, ..wants() },
            "user-data",
            Grade::Missing,
            "65536 of 65535",
            "shorten",
        ),
        (
            it(),
            Wanted { image: Some("gone".into()), ..wants() },
            "source image",
            Grade::Missing,
            "`gone`",
            "",
        ),
        (
            it(),
            Wanted { snapshot: Some("gone".into()), ..wants() },
            "source snapshot",
            Grade::Missing,
            "`gone`",
            "snapshot list",
        ),
    ];
    for (manners, wanted, name, grade, found, remedy) in cases {
        let (checks, _fake) = look(manners, &wanted).await;
        let check = named(&checks, name);
        assert_eq!(check.grade, grade, "{check:#?}");
        assert!(check.found.contains(found), "{check:#?}");
        assert!(check.remedy.as_ref().is_some_and(|it| it.contains(remedy)), "{check:#?}");
    }
}

#[tokio::test]
async fn a_router_of_somebody_else_is_no_fault() {
    let (checks, _fake) =
        look(Manners { router: RouterTo::Hidden, ..Manners::default() }, &Wanted::default()).await;
    assert_eq!(named(&checks, "way out").grade, Grade::Good);
}

#[tokio::test]
async fn a_flavor_without_a_disk_serves_volumes() {
    let manners = Manners { flavors: vec![("flex".into(), 2048, 0)], ..Manners::default() };
    let wanted = Wanted { root_on_volume: true, disk: 20, ..Wanted::default() };
    let (checks, _fake) = look(manners, &wanted).await;
    assert_eq!(named(&checks, "flavor").grade, Grade::Good);
}

#[tokio::test]
async fn a_wrong_password_is_one_finding() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    let mut config = fake.config();
    if let Auth::Password { password, .. } = &mut config.auth {
        *password = "not-it-at-all".into();
    }
    let cloud = Cloud::new(config, Patience::default(), CancellationToken::new()).unwrap();
    let checks = survey(&cloud, &Wanted::default()).await.unwrap();
    assert_eq!(checks.len(), 1, "{checks:#?}");
    assert_eq!((checks[0].name.as_str(), checks[0].grade), ("login", Grade::Missing));
    assert!(checks[0].remedy.as_ref().unwrap().contains("password"), "{checks:#?}");
    assert!(!format!("{checks:?}").contains("not-it-at-all"));
}

#[tokio::test]
async fn a_token_that_was_given_is_warned_of() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    let token = connect(&fake, CancellationToken::new()).session().token().await.unwrap();
    let config = imgbuild::openstack::CloudConfig {
        auth: Auth::Token(token.text().clone()),
        scope: Scope::Default,
        ..fake.config()
    };
    let cloud = Cloud::new(config, Patience::default(), CancellationToken::new()).unwrap();
    let checks = survey(&cloud, &Wanted::default()).await.unwrap();
    let login = named(&checks, "login");
    assert_eq!(login.grade, Grade::Warning, "{login:#?}");
    assert!(login.found.contains("a token that ends in 5"), "{login:#?}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_finding_and_the_rest_is_told() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    fake.fail(When::Matching("/image/".into(), 1000), Fault::Unavailable);
    fake.fail(
        When::Matching("/volume/v3/0123456789abcdef0123456789abcdef/limits".into(), 1000),
        Fault::Broken,
    );
    let checks =
        survey(&connect(&fake, CancellationToken::new()), &Wanted::default()).await.unwrap();
    let glance = named(&checks, "glance");
    assert_eq!(glance.grade, Grade::Missing, "{glance:#?}");
    assert!(glance.found.contains("503"), "{glance:#?}");
    assert_eq!(named(&checks, "quota of cinder").grade, Grade::Warning);
    assert_eq!(named(&checks, "nova").grade, Grade::Good);
    assert_eq!(named(&checks, "network").grade, Grade::Good);
}

#[tokio::test]
async fn the_user_s_wish_to_stop_is_no_finding() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = survey(&connect(&fake, cancel), &Wanted::default()).await;
    assert!(matches!(result, Err(Error::Cancelled)));
}
