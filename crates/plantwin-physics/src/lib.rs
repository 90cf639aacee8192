//! plantwin-physics: being built.
