//! The rules of the house, held by tests: layers, owners, sizes, docs, names.

mod layers;
mod tidy;
