//! What an answer file says of itself: dialect, system, install tree, how it ends.
