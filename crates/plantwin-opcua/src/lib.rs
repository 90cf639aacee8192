//! plantwin-opcua: being built.
