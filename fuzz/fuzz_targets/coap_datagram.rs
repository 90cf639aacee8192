//! No datagram makes either face of the CoAP adapter panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plantwin_coap::handle_any_datagram(data));
