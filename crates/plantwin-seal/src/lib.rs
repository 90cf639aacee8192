//! plantwin-seal: being built.
