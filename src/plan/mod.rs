//! What a build will do, as a value.
