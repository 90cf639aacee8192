//! The rules of the house, held by tests: layers, owners, sizes, docs, names, foreign crates,
//! claims of the documents.

mod claims;
mod layers;
mod supply;
mod tidy;
