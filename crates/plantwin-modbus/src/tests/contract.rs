//! The shared conformance kit.

use std::time::Duration;

use plantwin_adapter::conformance::{self, Kit};
use plantwin_model::SettingValue;

use super::support::{map, path};
use crate::Modbus;

/// The kit's numbers are exact only in 64 bits.
fn kit(settings: [&[(&str, i64)]; 2]) -> Kit {
    let wide = |settings: &[(&str, i64)]| {
        (0..4).fold(path(settings), |p, point| {
            map(p, point, "format", SettingValue::Text("f64".to_owned()))
        })
    };
    Kit {
        paths: settings.map(wide),
        notices_loss: true,
        timeout: Duration::from_secs(5),
        ..Kit::new("modbus")
    }
}

#[tokio::test]
async fn the_adapter_conforms_to_the_contract() {
    conformance::run(&Modbus::default(), kit([&[], &[]])).await;
}

#[tokio::test]
async fn the_adapter_conforms_where_units_are_named_and_answers_are_awaited_briefly() {
    let settings: [&[(&str, i64)]; 2] = [&[("unit", 9), ("timeout", 300)], &[("unit", 247)]];
    conformance::run(&Modbus::default(), kit(settings)).await;
}
