//! What we do: one file per business verb; owns transactions, knows no HTTP.
