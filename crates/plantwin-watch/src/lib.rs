//! plantwin-watch: being built.
