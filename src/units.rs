//! Sizes and durations as people write them: `8 GiB`, `90s`, `1h30m`.
//!
//! A bare number is refused, so that nobody has to guess what it counts.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// A length of time, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Why a size or a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The number has no unit.
    #[error("`{text}` has no unit; write {example}")]
    NoUnit {
        /// What was written.
        text: String,
        /// How it could be written.
        example: &'static str,
    },
    /// The unit is not one we know.
    #[error("`{unit}` is not a unit; use one of {known}")]
    UnknownUnit {
        /// What was written.
        unit: String,
        /// Every unit there is.
        known: &'static str,
    },
    /// There is no number, or one that cannot be read.
    #[error("`{0}` does not start with a number")]
    NoNumber(String),
    /// The number does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

const SIZE_UNITS: &str = "B, KB, KiB, MB, MiB, GB, GiB, TB, TiB";
const SPAN_UNITS: &str = "ms, s, m, h, d";

/// The pattern of a size, for the JSON Schema.
pub const SIZE_PATTERN: &str = r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGTkmgt]i?[Bb]?|[Bb])\s*$";
/// The pattern of a duration, for the JSON Schema.
pub const SPAN_PATTERN: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|sec|m|min|h|d)\s*)+$";

impl Size {
    /// A size of so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many mebibytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// A size of so many gibibytes.
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The number of mebibytes, rounded up.
    pub const fn as_mib(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }

    /// The number of gibibytes, rounded up.
    pub const fn as_gib(self) -> u64 {
        self.0.div_ceil(1 << 30)
    }
}

impl Span {
    /// A span of so many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A span of so many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// The same as a [`Duration`].
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text.trim())?;
        let factor: f64 = match unit.to_ascii_lowercase().as_str() {
            "" => return Err(UnitError::NoUnit { text: text.to_owned(), example: "`8 GiB`" }),
            "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "k" | "ki" | "kib" => 1024.0,
            "m" | "mi" | "mib" => 1024.0 * 1024.0,
            "g" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "t" | "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(UnitError::UnknownUnit { unit: unit.to_owned(), known: SIZE_UNITS }),
        };
        let bytes = (number * factor).round();
        // 2^63 is exact in an f64, and no disk is that large.
        if bytes >= 9_223_372_036_854_775_808.0 {
            return Err(UnitError::TooLarge(text.to_owned()));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above; a number has no sign here"
        )]
        Ok(Self(bytes as u64))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text.trim();
        let mut total = 0.0;
        if rest.is_empty() {
            return Err(UnitError::NoNumber(text.to_owned()));
        }
        while !rest.is_empty() {
            let end = rest
                .char_indices()
                .skip_while(|(_, c)| c.is_ascii_digit() || *c == '.')
                .skip_while(|(_, c)| c.is_whitespace())
                .find(|(_, c)| !c.is_alphabetic())
                .map_or(rest.len(), |(i, _)| i);
            let (number, unit) = number_and_unit(rest.get(..end).unwrap_or_default().trim())?;
            total += number
                * match unit {
                    "" => {
                        return Err(UnitError::NoUnit { text: text.to_owned(), example: "`90s`" });
                    }
                    "ms" => 0.001,
                    "s" | "sec" => 1.0,
                    "m" | "min" => 60.0,
                    "h" => 3600.0,
                    "d" => 86400.0,
                    _ => {
                        return Err(UnitError::UnknownUnit {
                            unit: unit.to_owned(),
                            known: SPAN_UNITS,
                        });
                    }
                };
            rest = rest.get(end..).unwrap_or_default().trim_start();
        }
        // A hundred years: more is a slip of the finger, and would overflow clocks.
        if total > 3.2e9 {
            return Err(UnitError::TooLarge(text.to_owned()));
        }
        Ok(Self(Duration::from_secs_f64(total)))
    }
}

/// Splits `1.5GiB` into `1.5` and `GiB`.
fn number_and_unit(text: &str) -> Result<(f64, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().map_err(|_| UnitError::NoNumber(text.to_owned()))?;
    Ok((number, unit.trim()))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift {
                if self.0.is_multiple_of(1 << shift) {
                    return write!(f, "{} {unit}", self.0 >> shift);
                }
                #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
                return write!(f, "{:.1} {unit}", self.0 as f64 / (1u64 << shift) as f64);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
        match (hours, minutes, seconds) {
            (0, 0, 0) if self.0.is_zero() => write!(f, "0s"),
            (0, 0, 0) => write!(f, "{}ms", self.0.as_millis()),
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s:02}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, 0) => write!(f, "{h}h{m:02}m"),
            (h, m, s) => write!(f, "{h}h{m:02}m{s:02}s"),
        }
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:expr, $about:literal, $examples:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'_, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "format": $name, "pattern": $pattern,
                    "description": $about, "examples": $examples,
                })
            }
        }
    };
}

as_text!(Size, "size", SIZE_PATTERN, "A size with its unit", ["8 GiB", "512 MiB"]);
as_text!(Span, "duration", SPAN_PATTERN, "A duration with its unit", ["90s", "45m", "1h30m"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, bytes) in [
            ("8 GiB", 8 << 30),
            ("512MiB", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("10 GB", 10_000_000_000),
            ("20G", 20 << 30),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn spans_add_up() {
        for (text, secs) in [("90s", 90), ("1h30m", 5400), ("45 min", 2700), ("2 h 5 s", 7205)] {
            assert_eq!(text.parse::<Span>(), Ok(Span::secs(secs)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!("8".parse::<Size>().unwrap_err().to_string(), "`8` has no unit; write `8 GiB`");
        assert!(matches!("8 parsec".parse::<Size>(), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!("GiB".parse::<Size>(), Err(UnitError::NoNumber(_))));
        assert!(matches!("90".parse::<Span>(), Err(UnitError::NoUnit { .. })));
        assert!(matches!("".parse::<Span>(), Err(UnitError::NoNumber(_))));
        assert!(matches!("99999999999 TiB".parse::<Size>(), Err(UnitError::TooLarge(_))));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for size in [Size::gib(8), Size::mib(1536), Size::bytes(512)] {
            assert_eq!(size.to_string().parse::<Size>().unwrap().as_mib(), size.as_mib());
        }
        for span in [Span::secs(5), Span::secs(61), Span::secs(3661), Span::minutes(90)] {
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
