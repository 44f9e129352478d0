//! STAND-IN
use crate::model::Build;
pub struct CommandLine { pub all: String }
impl CommandLine { pub fn text(&self) -> String { self.all.clone() } }
pub struct InstallerContext;
pub fn context(_: &Build) -> InstallerContext { InstallerContext }
#[derive(Debug, thiserror::Error, miette::Diagnostic)] #[error("x")] pub struct CommandLineError;
pub fn kernel_command_line(_: &Build, _: &InstallerContext) -> Result<CommandLine, CommandLineError> { Ok(CommandLine { all: "auto=true priority=critical url=http://169.254.169.254/latest/user-data netcfg/dhcp_timeout=60 DEBIAN_FRONTEND=text TERM=dumb console=ttyS0 --- console=ttyS0".into() }) }
