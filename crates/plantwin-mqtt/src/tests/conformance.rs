//! The conformance kit on several configurations.

use std::collections::BTreeMap;

use plantwin_adapter::conformance::{self, Kit};
use plantwin_model::{PointIx, SettingValue};

use crate::Mqtt;

fn kit() -> Kit {
    Kit { answers_writes: false, notices_loss: true, sequenced: true, ..Kit::new("mqtt") }
}

#[tokio::test]
async fn the_native_convention_conforms() {
    conformance::run(&Mqtt, kit()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quality_of_service_zero_conforms_on_several_threads() {
    let mut kit = kit();
    for path in &mut kit.paths {
        path.settings.insert("qos".to_owned(), SettingValue::Integer(0));
    }
    kit.paths[0].settings.insert("topic".to_owned(), SettingValue::Text("lab/a/1".to_owned()));
    conformance::run(&Mqtt, kit).await;
}

#[tokio::test]
async fn own_topics_for_writes_and_pointers_into_the_data_conform() {
    let mut kit = kit();
    let text = |key: &str, value: &str| (key.to_owned(), SettingValue::Text(value.to_owned()));
    for (ix, path) in kit.paths.iter_mut().enumerate() {
        path.points = BTreeMap::from([
            (PointIx(1), BTreeMap::from([text("json", "/v/flow")])),
            (PointIx(2), BTreeMap::from([text("set", &format!("cmnd/{ix}/voltage"))])),
        ]);
    }
    conformance::run(&Mqtt, kit).await;
}

#[tokio::test]
async fn sealed_devices_conform_with_either_quality_of_service() {
    for qos in [0, 1] {
        let mut kit = Kit { sealed: true, ..kit() };
        for path in &mut kit.paths {
            path.settings.insert("qos".to_owned(), SettingValue::Integer(qos));
        }
        conformance::run(&Mqtt, kit).await;
    }
}
