//! Spec files: text in, a checked build or every complaint out. Pure.
