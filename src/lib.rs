//! Dealix.
