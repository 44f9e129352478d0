//! A cloud of pretence.
