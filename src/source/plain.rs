//! Kernel and initrd by themselves.

use crate::model::Checksums;

use super::{
    FetchCx, InstallerFiles, SourceError, Trust,
    cache::Cache,
    download::{self, Want},
    expect::{Statements, Vouched, weaker},
    location::Location,
};

pub(super) async fn fetch(
    kernel: &str,
    initrd: &str,
    checksums: &Checksums,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    let (kernel_at, initrd_at) = (Location::parse(kernel)?, Location::parse(initrd)?);
    let statements = Statements::load(checksums, None, cache, cx).await?;
    let find = |role, at: &Location| -> Result<Vouched, SourceError> {
        Ok(statements.find(role, at.file_name())?.unwrap_or_else(Vouched::nothing))
    };
    let (kernel, initrd) = (find("kernel", &kernel_at)?, find("initrd", &initrd_at)?);
    pair(cx, cache, (&kernel_at, kernel), (&initrd_at, initrd)).await
}

/// Gets kernel and initrd at the same time.
pub(super) async fn pair(
    cx: &FetchCx,
    cache: &Cache,
    (kernel_at, kernel): (&Location, Vouched),
    (initrd_at, initrd): (&Location, Vouched),
) -> Result<InstallerFiles, SourceError> {
    let want = |at, what, of| Want::large(at, what).expecting(of);
    let (kernel_file, initrd_file) = futures_util::try_join!(
        download::get(cx, cache, want(kernel_at, "kernel", kernel.expected.as_ref())),
        download::get(cx, cache, want(initrd_at, "initrd", initrd.expected.as_ref())),
    )?;
    let trust = |it: Vouched, at: &Location| match it.trust {
        Trust::None if at.as_path().is_some() => Trust::Local,
        trust => trust,
    };
    Ok(InstallerFiles {
        kernel: kernel_file,
        initrd: initrd_file,
        tree_url: None,
        iso: None,
        volume_id: None,
        trust: weaker(trust(kernel, kernel_at), trust(initrd, initrd_at)),
    })
}
