//! No bytes make either face of the Modbus adapter panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plantwin_modbus::handle_any_bytes(data));
