//! plantwin-runtime: being built.
