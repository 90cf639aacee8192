//! plantwin-coap: being built.
