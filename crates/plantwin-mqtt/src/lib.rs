//! plantwin-mqtt: being built.
