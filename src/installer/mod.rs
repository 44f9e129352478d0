//! How one OS installer is started and handed its answers. Pure.
//!
//! What each installer wants to see on its command line is data of the
//! [catalogue](crate::catalogue); here it is put together for one build, in the
//! order that installers read it: its own parameters, how it finds its answers and
//! its packages, the consoles (the last one is the preferred one), and after the
//! separator what the installed system keeps.

mod command_line;

pub use command_line::{
    CommandLine, InstallerContext, InstallerError, USER_DATA_URL, context, escape_volume_id,
    kernel_command_line,
};
