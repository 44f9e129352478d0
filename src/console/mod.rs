//! What an installer's console says, judged by data.
