//! Filters that answer files need.
//!
//! When a text is rendered for people, secrets are placeholders such as
//! `<sensitive:NAME>`; filters that encode leave those as they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, Error, ErrorKind, Value};
use sha_crypt::{Algorithm, Params, PasswordHasher as _, ShaCrypt};
use sha2::{Digest as _, Sha512};

use super::environment::Derived;

/// What a placeholder for a secret starts with.
const PLACEHOLDER: &str = "<sensitive:";

/// Adds the filters. `salt` makes password hashes of different images differ.
pub(super) fn add_to(environment: &mut Environment<'_>, salt: &str, derived: &Derived) {
    let salt = salt.to_owned();
    let derived = derived.clone();
    environment.add_filter("sha512_crypt", move |text: &str| -> Result<String, Error> {
        if text.contains(PLACEHOLDER) {
            return Ok(text.to_owned());
        }
        let hash = sha512_crypt(text, &salt)?;
        derived.note(&hash);
        Ok(hash)
    });
    environment.add_filter("base64", |text: &str| unless_masked(text, |it| STANDARD.encode(it)));
    environment.add_filter("b64encode", |text: &str| unless_masked(text, |it| STANDARD.encode(it)));
    environment.add_filter("shell_quote", |text: &str| {
        unless_masked(text, |it| shell_words::quote(it).into_owned())
    });
    environment.add_filter("toml", |value: Value| to_toml(&value));
    environment.add_filter("yaml_quote", |text: &str| unless_masked(text, json_text));
    // minijinja's own escapes `<` and `'` for HTML, which no installer undoes.
    environment.add_filter("tojson", |value: Value| to_json(&value));
}

fn unless_masked(text: &str, encode: impl Fn(&str) -> String) -> String {
    if text.contains(PLACEHOLDER) { text.to_owned() } else { encode(text) }
}

/// A password as crypt(3) stores it, SHA-512 with 5,000 rounds.
///
/// The same password gives the same hash for the same image, so that a build
/// can be repeated to the byte. The salt is made with the slow function too: a
/// fast digest of the password beside its hash would be the easier thing to guess.
fn sha512_crypt(password: &str, salt: &str) -> Result<String, Error> {
    // Twelve bytes become the sixteen characters that crypt(3) reads.
    let image = Sha512::digest(format!("imgbuild\0{salt}"));
    let first = crypt(password, image.get(..12).unwrap_or_default())?;
    let own = Sha512::digest(&first);
    crypt(password, own.get(..12).unwrap_or_default())
}

fn crypt(password: &str, salt: &[u8]) -> Result<String, Error> {
    ShaCrypt::new(Algorithm::Sha512Crypt, Params::RECOMMENDED)
        .hash_password_with_salt(password.as_bytes(), salt)
        .map(|it| it.as_str().to_owned())
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the password cannot be hashed"))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn to_json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|_| Error::new(ErrorKind::BadSerialization, "the value cannot be written as JSON"))
}

/// A value as it stands after `key =` in TOML.
fn to_toml(value: &Value) -> Result<String, Error> {
    let refused = || Error::new(ErrorKind::BadSerialization, "the value cannot be written as TOML");
    let json = serde_json::to_value(value).map_err(|_| refused())?;
    let table = toml::Table::try_from(serde_json::json!({ "v": json })).map_err(|_| refused())?;
    table.get("v").map(ToString::to_string).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_is_what_crypt_reads_and_depends_on_image_and_password() {
        let hash = sha512_crypt("hunter22", "web").unwrap();
        let parts: Vec<_> = hash.split('$').collect();
        assert!(
            matches!(parts.as_slice(), ["", "6", "rounds=5000", salt, digest]
            if salt.len() == 16 && digest.len() == 86),
            "{hash}"
        );
        assert_eq!(hash, sha512_crypt("hunter22", "web").unwrap());
        let salt = |it: &str| it.split('$').nth(3).unwrap_or_default().to_owned();
        assert_ne!(salt(&hash), salt(&sha512_crypt("hunter22", "db").unwrap()));
        assert_ne!(salt(&hash), salt(&sha512_crypt("hunter23", "web").unwrap()));
    }

    #[test]
    fn values_are_written_for_the_language_around_them() {
        let environment = super::super::environment::environment("", &Derived::default());
        for (template, expected) in [
            ("{{ 'a b' | base64 }}", "YSBi"),
            ("{{ \"it's\" | shell_quote }}", r"'it'\''s'"),
            ("{{ 'a\"b' | toml }}", "'a\"b'"),
            ("{{ [1, 'x'] | toml }}", "[1, \"x\"]"),
            ("{{ {'a': '<b>'} | tojson }}", "{\"a\":\"<b>\"}"),
            ("{{ 'a: #b' | yaml_quote }}", "\"a: #b\""),
            ("{{ 'a/b c' | urlencode }}", "a/b%20c"),
            ("{{ '<sensitive:x>' | base64 | shell_quote | sha512_crypt }}", "<sensitive:x>"),
        ] {
            assert_eq!(environment.render_str(template, ()).unwrap(), expected, "{template}");
        }
    }
}
