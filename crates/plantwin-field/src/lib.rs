//! plantwin-field: being built.
