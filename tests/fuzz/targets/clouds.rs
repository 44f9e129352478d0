//! `clouds.yaml`, `secure.yaml` and their profiles.
#![no_main]

use std::collections::BTreeMap;

use imgbuild::openstack::config::{Text, Texts, names, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let text = |path: &str, text: &str| Some(Text { path: path.into(), text: text.into() });
    let texts = Texts {
        clouds: text("clouds.yaml", texts.0),
        secure: text("secure.yaml", texts.1),
        public: text("clouds-public.yaml", texts.2),
        env: BTreeMap::new(),
    };
    for name in names(&texts).unwrap_or_default().into_iter().take(4) {
        _ = resolve(&texts, Some(&name));
    }
    _ = resolve(&texts, Some("a"));
});
