//! Tests of both faces.

mod codec;
mod contract;
mod foreign;
mod link;
mod served;
mod shared_bus;
mod support;
