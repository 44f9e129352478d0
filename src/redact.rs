//! Keeps secrets out of everything that is shown or stored.
//!
//! A [`Redactor`] knows the values of sensitive variables in each form that a
//! template, a shell or a log may have given them, and replaces them.

use std::{
    fmt,
    sync::{Arc, RwLock},
};

use base64::{Engine as _, engine::general_purpose};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};

/// A value that must not be shown, with the name of the variable it came from.
#[derive(Clone)]
pub struct Secret {
    name: String,
    value: SecretString,
}

impl Secret {
    /// The value of the variable `name`.
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<sensitive:{}>", self.name)
    }
}

/// Replaces secrets in text. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Forms of secrets and what stands in for them, longest first.
    forms: Arc<RwLock<Vec<(String, String)>>>,
}

/// Shorter values would turn every `a` of a log into a mask.
const SHORTEST: usize = 4;

impl Redactor {
    /// Knows these secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        let redactor = Self::default();
        for secret in secrets {
            redactor.add(&secret.name, secret.value.expose_secret());
        }
        redactor
    }

    /// Learns one more value, in all its forms. Called for what templates derive
    /// from a secret, such as a crypt hash.
    pub fn add(&self, name: &str, value: &str) {
        let mask = format!("<sensitive:{name}>");
        let mut found: Vec<_> = forms(value)
            .into_iter()
            .chain(value.lines().filter(|_| value.contains('\n')).map(str::to_owned))
            .filter(|it| it.len() >= SHORTEST)
            .map(|form| (form, mask.clone()))
            .collect();
        if let Ok(mut forms) = self.forms.write() {
            forms.append(&mut found);
            forms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
            forms.dedup();
        }
    }

    /// The text with every secret in it replaced.
    pub fn mask(&self, text: &str) -> String {
        let Ok(forms) = self.forms.read() else { return "<withheld>".to_owned() };
        let mut text = text.to_owned();
        for (form, mask) in forms.iter() {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), mask);
            }
        }
        text
    }

    /// Whether there is a secret in the text.
    pub fn is_in(&self, text: &str) -> bool {
        self.forms.read().is_ok_and(|forms| forms.iter().any(|(form, _)| text.contains(form)))
    }

    /// Whether there is anything to hide.
    pub fn is_empty(&self) -> bool {
        self.forms.read().is_ok_and(|forms| forms.is_empty())
    }

    /// The length of the longest form, in bytes: what a reader of a stream has
    /// to hold back so that no secret slips through between two reads.
    pub fn longest(&self) -> usize {
        self.forms.read().ok().and_then(|it| it.first().map(|(form, _)| form.len())).unwrap_or(0)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// A value as it is, and as shells, JSON, URLs and base64 would have it.
fn forms(value: &str) -> Vec<String> {
    if value.len() < SHORTEST {
        return Vec::new();
    }
    let json = serde_json::Value::from(value).to_string();
    let hex = base16ct::lower::encode_string(value.as_bytes());
    let mut forms = vec![
        value.to_owned(),
        value.trim().to_owned(),
        json.trim_matches('"').to_owned(),
        shell_words::quote(value).into_owned(),
        value.replace('\'', r"'\''"),
        utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
        hex.to_uppercase(),
        hex,
    ];
    // In the middle of a longer text base64 depends on where in three bytes the
    // value starts; the first and last character then also depend on neighbours.
    for lead in 0..3 {
        for engine in [general_purpose::STANDARD_NO_PAD, general_purpose::URL_SAFE_NO_PAD] {
            let shifted = [&b"\0\0"[..lead], value.as_bytes()].concat();
            let text = engine.encode(&shifted);
            let from = [0, 2, 3][lead];
            let until = text.len() - usize::from(shifted.len() % 3 != 0);
            if let Some(inner) = text.get(from..until) {
                forms.push(inner.to_owned());
            }
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&[Secret::new("pw", "s3cret'pa$$ word")])
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let it = redactor();
        let value = "s3cret'pa$$ word";
        for lead in ["", "x", "xy", "xyz"] {
            let text = general_purpose::STANDARD.encode(format!("{lead}{value} and more"));
            assert!(it.is_in(&text), "base64 after {lead:?}: {text}");
        }
        let url = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
        for text in [value.to_owned(), url, shell_words::quote(value).into_owned()] {
            let masked = it.mask(&format!("before {text} after"));
            assert_eq!(masked, "before <sensitive:pw> after");
        }
    }

    #[test]
    fn short_values_do_not_mangle_everything() {
        assert_eq!(Redactor::new(&[Secret::new("x", "a")]).mask("a banana"), "a banana");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("pw", "hunter22")), "<sensitive:pw>");
        assert_eq!(format!("{:?}", redactor()), "Redactor");
    }
}
