//! Plays the outside world on the wire.
