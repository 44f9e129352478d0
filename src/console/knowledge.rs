//! Signatures of console messages, read from data.
//!
//! Every message that imgbuild understands is an entry in a file under
//! `data/console`; a spec may bring its own in the same form.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::{
    Phase, debconf,
    index::Index,
    signature::{Entry, Signature, SignatureError},
    stream::Line,
};
use crate::{catalogue::InstallerKind, model::VerifyCondition};

static DATA: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/console");

/// Signatures, and how to find those that may match a line.
#[derive(Debug)]
pub struct Knowledge {
    signatures: Vec<Signature>,
    installers: BTreeMap<InstallerKind, InstallerEnd>,
    index: Index,
    /// The signature of steps, which are so many that they are not looked for.
    step: Option<usize>,
}

/// How an installer ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InstallerEnd {
    /// Its name for people.
    pub title: String,
    /// A machine that goes off in this phase or later was installed.
    pub complete: Phase,
    /// What to write in the answer file so that the machine goes off at the end.
    pub power_off: String,
    /// What it does where the answer file says nothing about the end.
    pub by_default: String,
}

/// A file under `data/console`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    installer: Option<InstallerKind>,
    ends: Option<InstallerEnd>,
    #[serde(default)]
    signature: Vec<Entry>,
}

/// The name of the signature made of a spec's verify pattern.
pub const CONDITION: &str = "verify/condition";

impl Knowledge {
    /// What is built in, for every installer.
    pub fn builtin() -> Result<Self, Vec<SignatureError>> {
        Self::with(&[])
    }

    /// What is built in and a spec's own signatures
    /// ([`Build::console`](crate::model::Build::console)). All mistakes at once.
    pub fn with(own: &[serde_json::Value]) -> Result<Self, Vec<SignatureError>> {
        let mut errors = Vec::new();
        let mut signatures = own_signatures(own, &mut errors);
        let mut installers = BTreeMap::new();
        let mut files: Vec<_> = DATA.files().collect();
        files.sort_by_key(|it| it.path());
        for file in files {
            let name = file.path().display().to_string();
            let text = file.contents_utf8().unwrap_or_default();
            if name == debconf::FILE {
                match debconf::signatures(text) {
                    Ok(mut found) => signatures.append(&mut found),
                    Err(source) => {
                        errors.push(SignatureError::File { file: name, source: Box::new(source) });
                    }
                }
                continue;
            }
            match toml::from_str::<File>(text) {
                Ok(file) => {
                    if let (Some(kind), Some(ends)) = (file.installer, file.ends) {
                        installers.insert(kind, ends);
                    }
                    for entry in file.signature {
                        match Signature::new(entry, file.installer, &name) {
                            Ok(signature) => signatures.push(signature),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(source) => {
                    errors.push(SignatureError::File { file: name, source: Box::new(source) });
                }
            }
        }
        let mut ids = HashSet::new();
        for signature in &signatures {
            if !ids.insert(signature.id.as_str()) {
                errors.push(SignatureError::Twice { id: signature.id.clone() });
            }
        }
        for signature in &signatures {
            for other in signature.settles.iter().filter(|it| !ids.contains(it.as_str())) {
                let (id, other) = (signature.id.clone(), other.clone());
                errors.push(SignatureError::Settles { id, other });
            }
        }
        let required: Vec<_> = signatures.iter().map(Signature::required).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let step = signatures.iter().position(Signature::is_step);
        Ok(Self { index: Index::new(&required), step, signatures, installers })
    }

    /// The same, in memory once for all who ask for the same: it is large, and
    /// many builds may be at work at once.
    pub fn shared(own: &[serde_json::Value]) -> Result<Arc<Self>, Vec<SignatureError>> {
        static KNOWN: Mutex<BTreeMap<String, Weak<Knowledge>>> = Mutex::new(BTreeMap::new());
        let key = own.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(knowledge) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(knowledge);
        }
        let knowledge = Arc::new(Self::with(own)?);
        known.retain(|_, it| it.strong_count() > 0);
        known.insert(key, Arc::downgrade(&knowledge));
        Ok(knowledge)
    }

    /// What is built in, a spec's own signatures, and the pattern that its result
    /// is verified with, as the signature [`CONDITION`]; shared as well.
    pub fn for_verify(
        own: &[serde_json::Value],
        condition: &VerifyCondition,
    ) -> Result<Arc<Self>, Vec<SignatureError>> {
        let mut own = own.to_vec();
        if let VerifyCondition::Console(pattern) = condition {
            own.push(serde_json::json!({
                "id": CONDITION, "pattern": pattern, "meaning": "the console says what the spec waits for",
                "verdict": "ended-well", "phase": "login", "scope": "verify",
            }));
        }
        Self::shared(&own)
    }

    /// Checks a spec's own signatures, without reading what is built in.
    pub fn check(own: &[serde_json::Value]) -> Vec<SignatureError> {
        let mut errors = Vec::new();
        own_signatures(own, &mut errors);
        errors
    }

    /// Every signature.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// How an installer ends, where that is known.
    pub fn ends(&self, installer: InstallerKind) -> Option<&InstallerEnd> {
        self.installers.get(&installer)
    }

    /// The signature at an index that [`Self::candidates`] gave.
    pub(super) fn signature(&self, index: usize) -> Option<&Signature> {
        self.signatures.get(index)
    }

    /// The signatures that may match a line, in order.
    pub(super) fn candidates(&self, line: Line<'_>, found: &mut Vec<usize>) {
        if line.is_step {
            found.clear();
            found.extend(self.step);
        } else {
            self.index.candidates(line.text, found);
        }
    }
}

fn own_signatures(own: &[serde_json::Value], errors: &mut Vec<SignatureError>) -> Vec<Signature> {
    let mut signatures = Vec::new();
    for (index, value) in own.iter().enumerate() {
        let number = index + 1;
        let signature = Entry::deserialize(value)
            .map_err(|source| SignatureError::Form { number, source })
            .and_then(|it| Signature::new(it, None, "the spec"))
            .and_then(Signature::verified);
        match signature {
            Ok(signature) => signatures.push(signature),
            Err(error) => errors.push(error),
        }
    }
    signatures
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Verdict, *};

    #[test]
    fn every_built_in_signature_matches_its_examples() {
        let knowledge = Knowledge::builtin().unwrap();
        let mut faults = Vec::new();
        let count = knowledge.signatures.len();
        for signature in knowledge.signatures {
            if signature.examples.is_empty() {
                faults.push(format!("`{}` has no example", signature.id));
            }
            if signature.required().iter().all(|it| it.len() < Index::SHORTEST) {
                faults.push(format!("`{}` has no fixed text of four characters", signature.id));
            }
            if signature.verdict == Verdict::EndedBadly
                && (signature.cause.is_none() || signature.remedy.is_none())
            {
                faults.push(format!("`{}` has no cause or no remedy", signature.id));
            }
            if let Err(error) = signature.verified() {
                faults.push(miette::Report::new(error).to_string());
            }
        }
        assert!(
            faults.is_empty(),
            "{} of {count} signatures:\n{}",
            faults.len(),
            faults.join("\n")
        );
    }

    #[test]
    fn every_installer_says_how_it_ends() {
        let knowledge = Knowledge::builtin().unwrap();
        for installer in [
            InstallerKind::Anaconda,
            InstallerKind::DebianInstaller,
            InstallerKind::Autoyast,
            InstallerKind::Agama,
            InstallerKind::Subiquity,
        ] {
            assert!(knowledge.ends(installer).is_some(), "{installer:?}");
        }
    }

    #[test]
    fn a_mistake_in_a_users_signature_is_named() {
        let signature = |more: serde_json::Value| {
            let mut value = json!({"id": "mine", "meaning": "x", "verdict": "ended-badly"});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        };
        for (value, expected) in [
            (json!({"id": "mine"}), "signature 1 cannot be read"),
            (signature(json!({})), "needs either `pattern` or `text`"),
            (signature(json!({"pattern": "(", "remedy": "y"})), "is not a regex"),
            (signature(json!({"pattern": "x*"})), "matches an empty line"),
            (signature(json!({"text": ""})), "matches an empty line"),
            (signature(json!({"pattern": "^x", "wraps": true})), "tied to the start"),
            (signature(json!({"text": "x", "phase": "packing"})), "does not exist"),
            (signature(json!({"text": "x", "verdict": "stalled"})), "no `after`"),
            (signature(json!({"text": "x", "examples": ["y"]})), "does not match its example `y`"),
            (
                signature(json!({"text": "x", "counter-examples": ["xy"]})),
                "matches its counter-example `xy`",
            ),
            (signature(json!({"text": "x", "remedy": "mend {it}"})), "names `{it}`"),
            (signature(json!({"text": "x", "sauce": 1})), "cannot be read"),
        ] {
            let errors = Knowledge::check(std::slice::from_ref(&value));
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert!(text.len() == 1 && text[0].contains(expected), "{value}: {text:?}");
        }
        let twice = signature(json!({"text": "x"}));
        let errors = Knowledge::with(&[twice.clone(), twice]).unwrap_err();
        assert!(errors[0].to_string().contains("two signatures `mine`"), "{errors:?}");
        let settles = signature(json!({"text": "x", "settles": ["grub/eror"]}));
        let errors = Knowledge::with(&[settles]).unwrap_err();
        assert!(errors[0].to_string().contains("`grub/eror`, which does not exist"), "{errors:?}");
    }
}
