//! plantwin-store: being built.
