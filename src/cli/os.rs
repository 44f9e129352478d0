//! `os`: the catalogue.

use std::io::Write as _;

use super::{
    arguments::{Os, OsCommand},
    failure::{Failure, Plain},
    home::Home,
    load, print_json,
};
use crate::catalogue::{Catalogue, Os as Entry};

/// `imgbuild os`
pub(super) fn os(arguments: &Os, home: &Home) -> Result<(), Failure> {
    let catalogue = load::catalogue(home)?;
    match &arguments.command {
        OsCommand::List { json } => list(&catalogue, *json),
        OsCommand::Show { id } => {
            let os = catalogue.get(id).ok_or_else(|| load::unknown_os(id, &catalogue))?;
            print_json(&*load::filled(os));
        }
        OsCommand::Add { file } => {
            let text = load::read(file)?;
            let name = file.file_name().unwrap_or("os.toml").to_owned();
            let files = std::collections::BTreeMap::from([(file.to_string(), text.clone())]);
            Catalogue::built_in().with(&files).map_err(Failure::invalid)?;
            let target = home.os.join(&name);
            let written =
                fs_err::create_dir_all(&home.os).and_then(|()| fs_err::write(&target, &text));
            written
                .map_err(|it| Failure::failed(Plain::io(format!("cannot write `{target}`"), it)))?;
            _ = writeln!(crate::ui::stdout(), "{target}");
        }
    }
    Ok(())
}

fn list(catalogue: &Catalogue, json: bool) {
    let entries: Vec<_> = catalogue.ids().iter().filter_map(|id| catalogue.get(id)).collect();
    if json {
        let rows: Vec<_> = entries.iter().map(|it| row(it)).collect();
        print_json(&rows);
        return;
    }
    let mut out = crate::ui::stdout();
    for os in &entries {
        let end = os.end_of_life.as_deref().unwrap_or("-");
        let arches: Vec<_> = os.arches.iter().map(|it| it.as_str()).collect();
        _ = writeln!(out, "{:<22} {:<36} {:<10}  {}", os.id, os.title, end, arches.join(" "));
    }
}

fn row(os: &Entry) -> serde_json::Value {
    serde_json::json!({
        "id": os.id, "title": os.title, "family": os.family, "version": os.version,
        "installer": os.installer, "answer-file": os.dialect, "end-of-life": os.end_of_life,
        "arches": os.arches,
    })
}
