//! plantwin-examples: being built.
