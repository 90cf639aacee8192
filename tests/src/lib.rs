//! plantwin-tests: being built.
