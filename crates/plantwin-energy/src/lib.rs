//! plantwin-energy: being built.
