//! Dead letters: handed over and replayed; how they are kept is in `queue`.

pub mod hand_over;
pub mod replay_letter;
