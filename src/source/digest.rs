//! Digests as specs and checksum files state them: `sha256:<hex>`.

use std::{fmt, io::Read, str::FromStr};

use base16ct::lower;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// A digest with its algorithm; lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// The digest, lower case.
    pub hex: String,
}

/// A digest algorithm, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Old trees have nothing better.
    Md5,
    /// Old trees have nothing better.
    Sha1,
    /// SHA-2 with 224 bits.
    Sha224,
    /// What nearly everybody uses.
    Sha256,
    /// SHA-2 with 384 bits.
    Sha384,
    /// SHA-2 with 512 bits.
    Sha512,
}

/// Why a digest could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest such as `sha256:<64 hexadecimal digits>`")]
pub struct BadDigest(String);

impl Algorithm {
    /// Every algorithm.
    const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// `sha256`
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits it has.
    const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// The algorithm of this name: `SHA256`, `sha-256`, `Sha256`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase().replace('-', "");
        if name == "sha" {
            return Some(Self::Sha1);
        }
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}

impl Digest {
    /// A digest from its parts; `None` where the text is not one.
    pub fn new(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let fits = hex.len() == algorithm.digits() && hex.bytes().all(|it| it.is_ascii_hexdigit());
        fits.then(|| Self { algorithm, hex: hex.to_ascii_lowercase() })
    }

    /// A SHA-256 digest that was computed here.
    pub fn sha256(hex: &str) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex.to_owned() }
    }

    /// A digest whose length says what it is.
    pub fn of_length(hex: &str) -> Option<Self> {
        Algorithm::ALL.into_iter().find_map(|it| Self::new(it, hex))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let text = text.trim();
        match text.split_once(':') {
            Some((name, hex)) => {
                Algorithm::named(name.trim()).and_then(|it| Self::new(it, hex.trim()))
            }
            None => Self::of_length(text),
        }
        .ok_or_else(|| BadDigest(text.to_owned()))
    }
}

/// Computes SHA-256, by which the cache knows a file, and what else is asked for.
pub(super) struct Hasher {
    sha256: Sha256,
    other: Option<Other>,
    length: u64,
}

enum Other {
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha384(Sha384),
    Sha512(Sha512),
}

/// What a [`Hasher`] found.
pub(super) struct Hashed {
    pub(super) sha256: String,
    pub(super) size: u64,
    /// In the algorithm that was asked for.
    digest: Digest,
}

impl Hasher {
    /// Computes SHA-256, and this one too.
    pub(super) fn new(also: Algorithm) -> Self {
        let other = match also {
            Algorithm::Md5 => Some(Other::Md5(Md5::new())),
            Algorithm::Sha1 => Some(Other::Sha1(Sha1::new())),
            Algorithm::Sha224 => Some(Other::Sha224(Sha224::new())),
            Algorithm::Sha256 => None,
            Algorithm::Sha384 => Some(Other::Sha384(Sha384::new())),
            Algorithm::Sha512 => Some(Other::Sha512(Sha512::new())),
        };
        Self { sha256: Sha256::new(), other, length: 0 }
    }

    /// Computes what it takes to check for `expected`.
    pub(super) fn expecting(expected: Option<&Digest>) -> Self {
        Self::new(expected.map_or(Algorithm::Sha256, |it| it.algorithm))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.sha256.update(bytes);
        match &mut self.other {
            None => {}
            Some(Other::Md5(it)) => it.update(bytes),
            Some(Other::Sha1(it)) => it.update(bytes),
            Some(Other::Sha224(it)) => it.update(bytes),
            Some(Other::Sha384(it)) => it.update(bytes),
            Some(Other::Sha512(it)) => it.update(bytes),
        }
    }

    /// How many bytes it has seen.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn finish(self) -> Hashed {
        let sha256 = lower::encode_string(&self.sha256.finalize());
        let (algorithm, hex) = match self.other {
            None => (Algorithm::Sha256, sha256.clone()),
            Some(Other::Md5(it)) => (Algorithm::Md5, lower::encode_string(&it.finalize())),
            Some(Other::Sha1(it)) => (Algorithm::Sha1, lower::encode_string(&it.finalize())),
            Some(Other::Sha224(it)) => (Algorithm::Sha224, lower::encode_string(&it.finalize())),
            Some(Other::Sha384(it)) => (Algorithm::Sha384, lower::encode_string(&it.finalize())),
            Some(Other::Sha512(it)) => (Algorithm::Sha512, lower::encode_string(&it.finalize())),
        };
        Hashed { sha256, size: self.length, digest: Digest { algorithm, hex } }
    }
}

impl Hashed {
    /// The digest in the algorithm of `expected`, where it is another one.
    pub(super) fn differs_from(&self, expected: &Digest) -> Option<Digest> {
        let got = if expected.algorithm == Algorithm::Sha256 {
            Digest::sha256(&self.sha256)
        } else {
            self.digest.clone()
        };
        (got != *expected).then_some(got)
    }
}

/// Hashes everything that can be read.
pub(super) fn hash(mut reader: impl Read, mut hasher: Hasher) -> std::io::Result<Hasher> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// SHA-256 of a short text, for names of files.
pub(super) fn sha256_of(text: &str) -> String {
    lower::encode_string(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_with_and_without_their_algorithm() {
        let hex = "A".repeat(64);
        let digest = Digest::sha256(&"a".repeat(64));
        for text in
            [format!("sha256:{hex}"), format!(" SHA256: {hex}"), format!("sha-256:{hex}"), hex]
        {
            assert_eq!(text.parse(), Ok(digest.clone()), "{text}");
        }
        assert_eq!(format!("{digest}").parse(), Ok(digest));
        for text in ["", "sha256:abc", "crc32:12345678", "sha256", &"g".repeat(64), &"é".repeat(32)]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_algorithm_computes_what_its_standard_says() {
        // The test vectors for "abc" from RFC 1321 and FIPS 180-4.
        for (text, digits) in [
            ("md5:900150983cd24fb0d6963f7d28e17f72", 32),
            ("sha1:a9993e364706816aba3e25717850c26c9cd0d89d", 40),
            ("sha224:23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7", 56),
            ("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 64),
            (
                "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
                96,
            ),
            (
                "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                128,
            ),
        ] {
            let expected: Digest = text.parse().unwrap();
            let hashed = hash(&b"abc"[..], Hasher::expecting(Some(&expected))).unwrap().finish();
            assert_eq!(hashed.differs_from(&expected), None, "{digits} digits");
            assert_eq!(hashed.size, 3);
            let other = hash(&b"abd"[..], Hasher::expecting(Some(&expected))).unwrap().finish();
            assert!(other.differs_from(&expected).is_some());
        }
    }
}
