//! What other tools describe: TDL, Packer's HCL and JSON, command lines.
#![no_main]

use std::sync::LazyLock;

use imgbuild::{
    catalogue::Catalogue,
    import::{self, Context, Files},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> Option<String> {
        path.ends_with(".cfg").then(|| "d-i debian-installer/exit/poweroff boolean true\n".into())
    }

    fn names(&self) -> Vec<String> {
        vec!["preseed.cfg".into()]
    }
}

fuzz_target!(|text: &str| {
    let cx = Context {
        catalogue: &CATALOGUE,
        files: &NoFiles,
        os: None,
        variables: &[],
        variable_files: &[],
    };
    let mut made = Vec::new();
    for name in ["x.tdl", "x.pkr.hcl", "x.json"] {
        made.extend(import::file(name, text, &cx).into_iter().flatten());
    }
    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    made.extend(import::command(&words, &cx));
    for it in made {
        let checked = check_text(
            "x.toml",
            &it.spec,
            Syntax::Toml,
            &Inputs::default(),
            &*CATALOGUE,
            Mode::Validate,
        );
        if let Err(errors) = checked {
            panic!("{errors:?}\n{}", it.spec);
        }
    }
});
