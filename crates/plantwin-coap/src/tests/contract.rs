//! The shared conformance kit.

use plantwin_adapter::conformance::{self, Kit};

use crate::Coap;

#[tokio::test]
async fn the_adapter_conforms_to_the_contract() {
    let kit = Kit { notices_loss: true, sequenced: true, ..Kit::new("coap") };
    conformance::run(&Coap, kit).await;
}
