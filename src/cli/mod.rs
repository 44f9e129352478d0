//! What people type: one function a command, the only reader of environment and paths.

pub mod arguments;
mod attended;
mod build;
mod builds;
mod check;
mod cloud;
mod console;
mod destination;
mod doctor;
mod expectation;
mod explain;
mod failure;
mod fake;
mod generate;
mod home;
mod import;
mod init;
mod load;
mod mend;
mod os;
mod prepare;
mod runs;
mod show;
mod story;
mod templates;
mod turns;
mod validators;

use std::{io::Write as _, process::ExitCode};

use camino::Utf8PathBuf;
use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, Command};
use failure::{Failure, Plain};
use home::Home;

use crate::guard::Guard;

/// What every command knows of the world around it.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The user's folders.
    pub(crate) home: Home,
    /// Starts other programs.
    pub(crate) guard: Guard,
    /// Whether text may be coloured.
    pub(crate) colours: bool,
}

/// Reads the command line, does what it says, and returns how it ended.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let environment = |name: &str| std::env::var(name).ok();
    let colours = crate::ui::colours(environment("NO_COLOR").as_deref());
    let ended = (|| {
        let program = std::env::current_exe()
            .and_then(|it| Utf8PathBuf::try_from(it).map_err(std::io::Error::other))
            .map_err(|it| Failure::failed(Plain::io("cannot find imgbuild's own program", it)))?;
        let surroundings = Surroundings {
            home: Home::of(&arguments.everywhere, &environment),
            guard: Guard::new(program),
            colours,
        };
        // One thread: programs that imgbuild starts die with the thread that
        // started them, see `guard`.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|it| Failure::failed(Plain::io("cannot start", it)))?;
        let local = tokio::task::LocalSet::new();
        let ended = local.block_on(&runtime, dispatch(&arguments.command, &surroundings));
        // What still waits for a blocking read is of no use any more.
        runtime.shutdown_background();
        ended
    })();
    let lost = crate::ui::lost().map(|it| Plain::io("cannot write to standard output", it));
    match ended.and(lost.map_or(Ok(()), |it| Err(Failure::failed(it)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(report) = failure.report {
                failure::print(report.as_ref(), colours);
            }
            ExitCode::from(failure.status as u8)
        }
    }
}

async fn dispatch(command: &Command, cx: &Surroundings) -> Result<(), Failure> {
    match command {
        Command::Init(arguments) => init::init(arguments, cx),
        Command::Import(arguments) => import::import(arguments, cx),
        Command::Validate(arguments) => check::validate(arguments, cx).await,
        Command::Render(arguments) => show::render(arguments, cx).await,
        Command::Plan(arguments) => show::plan(arguments, cx).await,
        Command::Build(arguments) => build::build(arguments, cx).await,
        Command::Lint(arguments) => check::lint(arguments, cx).await,
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Runs(arguments) => runs::runs(arguments, &cx.home),
        Command::Cleanup(arguments) => runs::cleanup(arguments, &cx.home, &cx.guard).await,
        Command::Console(arguments) => console::console(arguments, cx).await,
        Command::Test(arguments) => fake::serve(arguments).await,
        Command::Doctor(arguments) => doctor::doctor(arguments, cx).await,
        Command::Os(arguments) => os::os(arguments, &cx.home),
        Command::Schema => {
            print_json(crate::spec::file::schema());
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(*shell, &mut command, "imgbuild", &mut crate::ui::stdout());
            Ok(())
        }
        Command::Man => clap_mangen::Man::new(Arguments::command())
            .render(&mut crate::ui::stdout())
            .map_err(|it| Failure::failed(Plain::io("cannot print the manual page", it))),
    }
}

/// Prints a JSON document to standard output.
fn print_json(value: &impl serde::Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        _ = writeln!(crate::ui::stdout(), "{text}");
    }
}
