//! How an operator asks: the command line.
