//! `explain`: what a console log says, whichever tool it comes from.

use std::io::{Read as _, Write as _};

use super::{
    arguments::{Explain, ReportFormat},
    failure::{Failure, Plain},
    print_json,
};
use crate::console;

/// `imgbuild explain`
pub(super) fn explain(arguments: &Explain) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let read = if arguments.log == "-" {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        fs_err::File::open(&arguments.log).and_then(|mut it| it.read_to_end(&mut bytes))
    };
    read.map_err(|it| {
        Failure::usage(Plain::io(format!("cannot read `{}`", arguments.log), it))
    })?;
    let explanation = console::explain(&bytes, &console::Knowledge::built_in());
    if arguments.format == ReportFormat::Json {
        print_json(&explanation);
    } else {
        _ = write!(std::io::stdout(), "{explanation}");
    }
    Ok(())
}
