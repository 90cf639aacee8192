//! Tests of both faces.

mod codec;
mod contract;
mod foreign;
mod link;
mod pinning;
mod served;
mod shared_bus;
mod support;
