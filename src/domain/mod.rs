//! What we know: types and rules, without I/O; the current time is an argument.
