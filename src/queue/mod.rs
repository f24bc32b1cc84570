//! What we owe: Redis, which holds dead letters and nothing else.
