//! How one OS installer is started and handed its answers. Pure.
