//! STAND-IN
use crate::catalogue::{Catalogue, Dialect, Os};
pub struct Found {
    pub value: String,
}
pub struct Inspection {
    pub dialect: Option<Dialect>,
    pub tree: Option<Found>,
}
impl Inspection {
    pub fn os_id(&self) -> Option<String> {
        None
    }
    pub fn notes(&self) -> Vec<String> {
        vec![]
    }
}
pub fn inspect(_: &str, _: &str, _: &Catalogue) -> Inspection {
    Inspection { dialect: None, tree: None }
}
#[derive(Debug, Default)]
pub struct Findings;
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("x")]
pub struct FindingsReport;
impl Findings {
    pub fn is_fatal(&self) -> bool {
        false
    }
    pub fn report(&self, _: &str, _: &str) -> Option<FindingsReport> {
        None
    }
}
pub fn check(_: &Os, _: &str) -> Findings {
    Findings
}
pub fn lint(_: &Inspection, _: Option<&Os>, _: &str) -> Findings {
    Findings
}
