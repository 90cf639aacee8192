//! The shared conformance kit.

use plantwin_adapter::conformance::{self, Kit};

use super::dtls::{KEY, keyed};
use crate::Coap;

fn kit() -> Kit {
    Kit { notices_loss: true, sequenced: true, ..Kit::new("coap") }
}

#[tokio::test]
async fn the_adapter_conforms_to_the_contract() {
    conformance::run(&Coap, kit()).await;
}

#[tokio::test]
async fn the_adapter_conforms_to_the_contract_with_sealed_devices() {
    conformance::run(&Coap, Kit { sealed: true, ..kit() }).await;
}

#[tokio::test]
async fn the_adapter_conforms_to_the_contract_over_dtls() {
    let ((one, _file_one), (two, _file_two)) =
        (keyed("alpha", KEY), keyed("beta", "another-key-of-16"));
    conformance::run(&Coap, Kit { paths: [one.clone(), two.clone()], ..kit() }).await;
    conformance::run(&Coap, Kit { paths: [one, two], sealed: true, ..kit() }).await;
}
