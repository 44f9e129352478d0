//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|it| it == imgbuild::guard::WORD) {
        return imgbuild::guard::become_program(arguments);
    }
    imgbuild::cli::run()
}
