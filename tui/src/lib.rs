//! plantwin-tui: being built.
