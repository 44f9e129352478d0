//! Which backend performs which stage.
