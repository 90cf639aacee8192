//! Tests of both faces: the state machines with times of their own, and real sockets.

mod codec;
mod contract;
mod dtls;
mod foreign;
mod network;
mod protocol;
mod scripted;
mod sealed;
mod support;
