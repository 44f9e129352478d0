//! What a session bears: tokens that end, services that are away or missing,
//! users who do not want to wait.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use camino::Utf8PathBuf;
use futures_util::future::join_all;
use imgbuild::{
    CancellationToken,
    engine::Teller,
    openstack::{
        Cloud, CloudConfig, Error, Patience, Service,
        compute::{Attachment, NewServer, Until},
        config::{self, Auth, Credential, Scope, Text, Texts},
        fake::{APPLICATION_CREDENTIAL, FakeCloud, Fault, Manners, PASSWORD, When},
        image::NewImage,
        release::Which,
        volume::{Held, NewVolume},
        wait::Backoff,
    },
};
use tokio::time::Instant;

const QUICK: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20));

fn connect(config: CloudConfig) -> Cloud {
    let patience = Patience {
        request: Duration::from_secs(2),
        attempts: 3,
        retry: QUICK,
        poll: QUICK,
        ..Patience::default()
    };
    Cloud::new(config, patience, CancellationToken::new()).unwrap()
}

async fn start(manners: Manners) -> (FakeCloud, Cloud) {
    let fake = FakeCloud::start(manners).await.unwrap();
    let cloud = connect(fake.config());
    (fake, cloud)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn count(fake: &FakeCloud, part: &str) -> usize {
    fake.requests().iter().filter(|it| it.contains(part)).count()
}

fn volume(name: &str) -> NewVolume {
    NewVolume { name: name.into(), gib: 1, ..NewVolume::default() }
}

#[tokio::test]
async fn one_token_serves_all_and_is_renewed_by_one() {
    let (fake, cloud) = start(Manners::default()).await;
    let networks = cloud.networks();
    let compute = cloud.compute();
    join_all((0..20).map(|_| compute.flavors())).await.into_iter().for_each(|it| drop(it.unwrap()));
    assert_eq!(count(&fake, "/auth/tokens"), 1);
    fake.expire_tokens();
    join_all((0..20).map(|_| networks.networks()))
        .await
        .into_iter()
        .for_each(|it| drop(it.unwrap()));
    assert_eq!(count(&fake, "/auth/tokens"), 2, "{:#?}", fake.requests());
    // Each service was asked once for its versions.
    for document in ["GET /network/", "GET /compute/v2.1/"] {
        assert_eq!(fake.requests().iter().filter(|it| *it == document).count(), 1, "{document}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let (fake, cloud) =
        start(Manners { token_life: Duration::from_millis(300), ..Manners::default() }).await;
    for _ in 0..6 {
        cloud.compute().flavors().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((2..=4).contains(&count(&fake, "/auth/tokens")), "{:?}", fake.requests());
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    let mut config = fake.config();
    if let Auth::Password { password, .. } = &mut config.auth {
        *password = "not-it-at-all".into();
    }
    let cloud = connect(config);
    let compute = cloud.compute();
    for result in join_all((0..5).map(|_| compute.flavors())).await {
        let err = result.unwrap_err();
        assert_eq!(err.status(), Some(401));
        assert!(err.request_id().is_some_and(|it| it.starts_with("req-")), "{err}");
        assert!(!format!("{err} {err:?}").contains("not-it-at-all"));
    }
    assert_eq!(count(&fake, "/auth/tokens"), 1);
}

#[tokio::test]
async fn every_way_to_say_who_we_are_is_understood() {
    let fake = FakeCloud::start(Manners::default()).await.unwrap();
    let texts = Texts {
        clouds: Some(Text { path: "clouds.yaml".into(), text: fake.clouds_yaml() }),
        ..Texts::default()
    };
    let password = connect(config::resolve(&texts, None).unwrap());
    password.compute().flavors().await.unwrap();
    let token = password.session().token().await.unwrap().text().clone();
    let credential = Credential::Id(APPLICATION_CREDENTIAL.into());
    let auth =
        [Auth::ApplicationCredential { credential, secret: PASSWORD.into() }, Auth::Token(token)];
    for auth in auth {
        let cloud = connect(CloudConfig { auth, scope: Scope::Default, ..fake.config() });
        cloud.compute().flavors().await.unwrap();
        assert!(cloud.session().project().await.unwrap().is_some());
    }
    // A token by itself cannot be renewed, and says so.
    let token = connect(fake.config()).session().token().await.unwrap().text().clone();
    let cloud =
        connect(CloudConfig { auth: Auth::Token(token), scope: Scope::Default, ..fake.config() });
    cloud.compute().flavors().await.unwrap();
    fake.expire_tokens();
    assert!(matches!(cloud.compute().flavors().await, Err(Error::TokenExpired)));
}

#[tokio::test]
async fn a_cloud_without_volumes_works_for_the_rest() {
    let (_fake, cloud) =
        start(Manners { without: vec![Service::Volume], ..Manners::default() }).await;
    assert!(!cloud.session().has(Service::Volume).await.unwrap());
    assert!(cloud.limits().await.unwrap().volumes.fits(100));
    let err = cloud.volumes().create(&volume("x")).await.unwrap_err();
    assert_eq!(err.to_string(), "the cloud has no cinder");
}

#[tokio::test]
async fn endpoints_that_the_user_knows_better_are_used() {
    let fake = FakeCloud::start(Manners { without: vec![Service::Network], ..Manners::default() })
        .await
        .unwrap();
    let mut config = fake.config();
    let root = config.auth_url.replace("/identity/v3", "/network/v2.0");
    config.endpoints.insert(Service::Network, root.clone());
    let cloud = connect(config);
    assert_eq!(cloud.networks().network("private").await.unwrap().mtu, 1400);
    assert_eq!(cloud.session().url(Service::Network).await.unwrap(), root);
}

#[tokio::test]
async fn a_token_that_ends_during_an_upload_does_not_end_the_upload() {
    let (fake, cloud) = start(Manners::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let disk = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::write(&disk, vec![1; 5 << 20]).unwrap();
    let new = NewImage { name: "x".into(), disk_format: "raw".into(), ..NewImage::default() };
    let image = cloud.images().create(&new).await.unwrap();
    // Glance looks at the token when everything has arrived.
    fake.fail(When::Matching("/file".into(), 1), Fault::Expired);
    fake.fail(When::Matching("/file".into(), 1), Fault::ReplyLost);
    cloud.images().upload(&image.id, &disk, "disk", &Teller::default()).await.unwrap();
    let image = cloud.images().wait_active(&image.id, soon()).await.unwrap();
    assert_eq!(image.size, Some(5 << 20));
    assert!(cloud.images().compare(&image, &disk).await.unwrap());
    // Other data are not taken for it.
    fs_err::write(&disk, vec![2; 5 << 20]).unwrap();
    assert!(matches!(cloud.images().compare(&image, &disk).await, Err(Error::Digest { .. })));
}

#[tokio::test]
async fn a_long_upload_that_breaks_off_waits_until_glance_has_let_go() {
    let (fake, _) =
        start(Manners { delay: Duration::from_millis(250), ..Manners::default() }).await;
    let patience = Patience {
        // Shorter than the upload takes.
        stored: Duration::from_millis(500),
        attempts: 2,
        retry: QUICK,
        ..Patience::default()
    };
    let cloud = Cloud::new(fake.config(), patience, CancellationToken::new()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let disk = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::File::create(&disk).unwrap().set_len(192 << 20).unwrap();
    let new = NewImage { name: "x".into(), disk_format: "raw".into(), ..NewImage::default() };
    let image = cloud.images().create(&new).await.unwrap();
    fake.fail(When::Matching("/file".into(), 1), Fault::ReplyLost);
    let image = cloud.images().upload(&image.id, &disk, "disk", &Teller::default()).await.unwrap();
    assert_eq!(image.size, Some(192 << 20));
}

#[tokio::test]
async fn an_upload_that_stands_still_ends() {
    let (fake, cloud) = start(Manners::default()).await;
    let patience = Patience {
        idle: Duration::from_millis(300),
        stored: Duration::from_millis(300),
        attempts: 2,
        retry: QUICK,
        ..Patience::default()
    };
    let slow = Cloud::new(fake.config(), patience, CancellationToken::new()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let disk = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::write(&disk, vec![1; 1 << 20]).unwrap();
    let new = NewImage { name: "x".into(), disk_format: "raw".into(), ..NewImage::default() };
    let image = cloud.images().create(&new).await.unwrap();
    fake.fail(When::Matching("/file".into(), 5), Fault::Unavailable);
    assert_eq!(
        slow.images().upload(&image.id, &disk, "d", &Teller::default()).await.unwrap_err().status(),
        Some(503)
    );
    fake.heal();
    // It arrives, but nobody says so; the next look finds out.
    fake.fail(When::Matching("/file".into(), 1), Fault::NoAnswer);
    slow.images().upload(&image.id, &disk, "d", &Teller::default()).await.unwrap();
}

#[tokio::test]
async fn user_data_is_never_said_back() {
    let (_fake, cloud) = start(Manners::default()).await;
    let secret = "root-password-of-the-guest";
    let new = NewServer {
        name: "x".into(),
        flavor: "no-such-flavor".into(),
        user_data: Some(secret.repeat(100).as_str().into()),
        network: Attachment::None,
        ..NewServer::default()
    };
    let err = cloud.compute().create_server(&new).await.unwrap_err();
    assert_eq!(
        err.to_string().split(" (req-").next(),
        Some("nova answered 400 to `POST /servers`: Invalid flavorRef provided.")
    );
    let long = NewServer { user_data: Some(secret.repeat(3000).as_str().into()), ..new };
    let err = cloud.compute().create_server(&long).await.unwrap_err();
    assert!(!format!("{err} {err:?} {long:?}").contains(secret));
}

#[tokio::test]
async fn what_is_cancelled_ends_at_once_and_can_still_be_given_back() {
    let (fake, cloud) =
        start(Manners { guest: None, delay: Duration::from_millis(5), ..Manners::default() }).await;
    let cancel = CancellationToken::new();
    let build = cloud.under(cancel.clone());
    let flavor = build.compute().flavor("tiny").await.unwrap().id;
    let volume = build.volumes().create(&volume("root")).await.unwrap();
    build.volumes().wait_available(&volume.id, soon()).await.unwrap();
    let new = NewServer {
        name: "x".into(),
        flavor,
        devices: vec![imgbuild::openstack::compute::Device::volume(&volume.id).boot(0)],
        network: Attachment::None,
        ..NewServer::default()
    };
    let server = build.compute().create_server(&new).await.unwrap();
    let canceller = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    };
    let begin = Instant::now();
    let hour = Instant::now() + Duration::from_hours(1);
    let compute = build.compute();
    let (waited, ()) = tokio::join!(compute.wait(&server.id, Until::Off, hour), canceller);
    assert!(matches!(waited, Err(Error::Cancelled)));
    assert!(begin.elapsed() < Duration::from_secs(2));
    // The volume is held by the server for a moment: that is waited for.
    let compute = cloud.compute();
    let volumes = cloud.volumes();
    let (server, volume) = tokio::join!(
        compute.release_server(Which::Name("x"), soon()),
        volumes.release(Which::Id(&volume.id), soon())
    );
    server.unwrap();
    volume.unwrap();
    assert_eq!(fake.things(), []);
}

#[tokio::test]
async fn what_holds_something_is_told_when_time_is_up() {
    let (fake, cloud) = start(Manners::default()).await;
    let volume = cloud.volumes().create(&volume("root")).await.unwrap();
    cloud.volumes().wait_available(&volume.id, soon()).await.unwrap();
    let snapshot =
        cloud.volumes().create_snapshot(&volume.id, "s", &[].into(), Held::No).await.unwrap();
    cloud.volumes().wait_snapshot(&snapshot.id, soon()).await.unwrap();
    let late = cloud
        .volumes()
        .release(Which::Id(&volume.id), Instant::now() + Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(late.to_string().contains("Volume still has 1 dependent snapshots"), "{late}");
    assert_eq!(fake.things().len(), 2);
    cloud.volumes().release_snapshot(Which::Name("s"), soon()).await.unwrap();
    cloud.volumes().release(Which::Name("root"), soon()).await.unwrap();
    cloud.volumes().release(Which::Id(&volume.id), soon()).await.unwrap();
}

#[tokio::test]
async fn a_volume_that_fails_is_told_of_in_cinder_s_words_and_with_the_request() {
    let said = "schedule allocate volume:Could not find any available weighted backend.";
    let manners = Manners { volume_fault: Some(said.to_owned()), ..Manners::default() };
    let (_fake, cloud) = start(manners).await;
    let made = cloud.volumes().create(&volume("x")).await.unwrap();
    let err = cloud.volumes().wait_available(&made.id, soon()).await.unwrap_err().to_string();
    assert!(err.contains("is in state `error`"), "{err}");
    assert!(err.contains(said) && err.contains(&format!("(req-{})", made.id)), "{err}");
}

#[tokio::test]
async fn a_quota_is_told_and_nothing_is_asked_twice() {
    let (fake, cloud) = start(Manners { quota: 1, ..Manners::default() }).await;
    cloud.volumes().create(&volume("a")).await.unwrap();
    assert!(!cloud.limits().await.unwrap().volumes.fits(1));
    let err = cloud.volumes().create(&volume("b")).await.unwrap_err();
    assert!(err.to_string().contains("Maximum number of volumes allowed exceeded"), "{err}");
    assert_eq!(count(&fake, "POST /volume"), 2);
    // What has the name already is taken.
    cloud.volumes().create(&volume("a")).await.unwrap();
    assert_eq!(count(&fake, "POST /volume"), 2);
}

#[tokio::test]
async fn a_service_that_is_away_is_asked_a_few_times() {
    let (fake, cloud) = start(Manners::default()).await;
    cloud.compute().flavors().await.unwrap();
    drop(fake);
    // The port is closed, and the connection too.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    let err = cloud.compute().flavors().await.unwrap_err();
    assert!(matches!(err, Error::NoAnswer { .. }), "{err:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}
