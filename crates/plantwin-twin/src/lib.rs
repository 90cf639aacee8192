//! plantwin-twin: being built.
