//! plantwin: being built.
fn main() {}
