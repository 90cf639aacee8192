//! plantwin-authority: being built.
