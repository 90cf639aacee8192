//! The protocols of this build: one explicit line each.

use plantwin_adapter::Registry;

pub(crate) fn registry() -> Registry {
    Registry::new()
        .with(plantwin_mqtt::Mqtt)
        .with(plantwin_coap::Coap)
        .with(plantwin_opcua::OpcUa::default())
        .with(plantwin_modbus::Modbus::default())
}
