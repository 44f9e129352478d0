//! The digest of a file, in the algorithm that Glance says.

use std::io::Read as _;

use base16ct::lower;
use camino::Utf8Path;
use sha2::{Digest, Sha256, Sha512};

/// In hexadecimal; `None` for an algorithm that is not known here.
pub(super) async fn of_file(path: &Utf8Path, algorithm: &str) -> std::io::Result<Option<String>> {
    let path = path.to_owned();
    let run: fn(&Utf8Path) -> std::io::Result<String> = match algorithm {
        "sha512" => hash::<Sha512>,
        "sha256" => hash::<Sha256>,
        _ => return Ok(None),
    };
    tokio::task::spawn_blocking(move || run(&path)).await.map_err(std::io::Error::other)?.map(Some)
}

fn hash<D: Digest>(path: &Utf8Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut digest = D::new();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    Ok(lower::encode_string(&digest.finalize()))
}
