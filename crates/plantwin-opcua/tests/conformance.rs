//! The shared conformance kit, once without security and once signed and encrypted.

use plantwin_adapter::conformance::{self, Kit};
use plantwin_model::SettingValue;
use plantwin_opcua::OpcUa;

fn kit() -> Kit {
    // A debug build makes RSA keys in seconds, and a busy machine pauses.
    let timeout = std::time::Duration::from_secs(10);
    Kit { notices_loss: true, sequenced: true, timeout, ..Kit::new("opcua") }
}

#[tokio::test]
async fn the_adapter_conforms_without_security() {
    conformance::run(&OpcUa::new(), kit()).await;
}

#[tokio::test]
async fn the_adapter_conforms_signed_and_encrypted_with_a_user() {
    let mut kit = kit();
    for path in &mut kit.paths {
        for (key, value) in [("security", "sign-encrypt"), ("user", "op"), ("password", "secret")] {
            path.settings.insert(key.to_owned(), SettingValue::Text(value.to_owned()));
        }
    }
    conformance::run(&OpcUa::new(), kit).await;
}
