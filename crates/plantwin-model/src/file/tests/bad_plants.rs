//! What is said about bad plant files: one case a line, all of them in one snapshot.

use std::time::Duration;

use super::{CATALOG, GOOD, check_form, lines, read, table};
use crate::{
    DeviceId,
    file::{ReadOptions, Simulate, read_plant},
};

/// Cases in which one text of the good plant is replaced by another.
const CASES: &[(&str, &str)] = &[
    // Syntax.
    ("seed = 7", "seed = "),
    ("seed = 7", "seed = 7 8"),
    ("[zone.control]", "[zone.control"),
    ("seed = 7", "seed = 7\nseed = 8"),
    ("[zone.control]", "[zone.field]"),
    ("site = \"lab\"", "site = lab"),
    ("site = \"lab\"", "site = \"lab\nseed = \"x\""),
    // Keys and types of values.
    ("site =", "sites ="),
    ("[[flow]]", "[[flows]]"),
    ("[[flow]]", "[flow]"),
    ("seed = 7", "frobnicate = 7"),
    ("seed = 7", "seed = \"7\""),
    ("seed = 7", "seed = -7"),
    ("seed = 7", "seed = 99999999999999999999"),
    ("name = \"test-line\"", "name = \"test line\""),
    ("name = \"test-line\"\n", ""),
    ("title = \"Line\"", "title = 1979-05-27"),
    ("[zone.control]", "[zone]\ncontrol = 3"),
    ("type = \"pump\"\n", ""),
    ("[device.tank1]", "[device.\"tank 1\"]"),
    // Durations.
    ("period = \"500ms\"", "period = 500"),
    ("period = \"500ms\"", "period = \"500 milliseconds\""),
    ("period = \"500ms\"", "period = \"0s\""),
    ("period = \"500ms\"", "period = \"-1s\""),
    ("period = \"500ms\"", "period = \"1e30 s\""),
    ("period = \"500ms\"", "step = \"2h\""),
    ("at = \"60s\"", "at = \"soon\""),
    // Quantities.
    ("budget = \"5 kJ\"", "budget = \"5 kW\""),
    ("budget = \"5 kJ\"", "budget = \"5 kilojoule\""),
    ("budget = \"5 kJ\"", "budget = \"kJ\""),
    ("budget = \"5 kJ\"", "budget = 0"),
    ("budget = \"5 kJ\"", "budget = inf"),
    ("level = \"100 mm\"", "level = \"100 mbar\""),
    ("level = \"100 mm\"", "level = 20.1"),
    ("level = \"100 mm\"", "lefel = 3"),
    ("gain = 3", "gain = \"3 m\""),
    ("gain = 3", "gian = 3"),
    ("gain = 3", "area = \"3 l/min\""),
    ("gain = 3", "area = \"3 m^2\""),
    ("gain = 3", "area = \"3 furlong\""),
    // Names of things.
    ("type = \"pump\"", "type = \"pmup\""),
    ("type = \"pump\"", "type = \"reactor\""),
    ("type = \"pump\"", "type = \"misnamed\""),
    ("zone = \"field\"", "zone = \"feild\""),
    ("zone = \"field\"", "zone = \"basement\""),
    ("mode = \"simulated\"", "mode = \"virtual\""),
    ("energy = \"ethernet\"", "energy = \"esp32-wifi\""),
    ("variant = \"small\"", "variant = \"smal\""),
    ("\"tank1.area\" = \"20 cm2\"", "\"tank1.aera\" = \"20 cm2\""),
    ("\"tank1.area\" = \"20 cm2\"", "\"tank.area\" = \"20 cm2\""),
    ("\"tank1.area\" = \"20 cm2\"", "area = \"20 cm2\""),
    ("\"tank1.area\" = 40", "\"tank1.area\" = \"40 cm\""),
    // Zones and conduits.
    ("peers = [\"control\"]", "peers = [\"contrl\"]"),
    ("peers = [\"control\"]", "peers = [\"field\", \"control\", \"control\"]"),
    ("peers = [\"control\"]", "peers = \"control\""),
    ("peers = [\"control\"]\n", ""),
    // Paths.
    ("[device.pump1.mqtt]\ntopic = \"a/pump1\"\nqos = 1\nretain = true\nkeep_alive = 30\n", ""),
    ("[device.pump1.mqtt]", "[device.pump1.mqqt]"),
    ("paths = [\"coap\", \"mqtt\"]", "paths = []"),
    ("paths = [\"coap\", \"mqtt\"]", "paths = [\"coap\", \"matt\"]"),
    ("paths = [\"coap\", \"mqtt\"]", "paths = [\"coap\", \"coap\", \"mqtt\"]"),
    ("paths = [\"coap\", \"mqtt\"]", "paths = [\"coap\"]"),
    ("topic = \"a/pump1\"", "topik = \"a/pump1\""),
    ("qos = 1", "qos = 3"),
    ("retain = true", "retain = 1"),
    ("keep_alive = 30", "keep_alive = nan"),
    ("topic = \"a/pump1\"\nqos = 1", "qos = 2"),
    ("topic = \"a/pump1\"", "topic = \"\""),
    ("topic = \"a/pump1\"", "topic = \"tank1\""),
    ("map.level = { path = \"l\" }", "map.levle = { path = \"l\" }"),
    ("map.level = { path = \"l\" }", "map.level = { node = \"l\" }"),
    ("map.level = { path = \"l\" }", "map.level = \"l\""),
    ("opcua = { addr = \"10.0.0.1:4840\" }", "opcua = {}"),
    ("mqtt = \"127.0.0.1:1883\"", "mqtt = \"localhost\""),
    ("mqtt = \"127.0.0.1:1883\"", "modbus = \"127.0.0.1:1883\""),
    // Flows.
    ("from = \"pump1.flow\"", "from = \"pump2.flow\""),
    ("from = \"pump1.flow\"", "from = \"pump1.flwo\""),
    ("from = \"pump1.flow\"", "from = \"pump1\""),
    ("from = \"pump1.flow\"", "from = \"pump1.voltage\""),
    ("from = \"pump1.flow\"\n", ""),
    ("to = \"tank1.inflow\"", "to = \"tank1.inflo\""),
    ("to = \"tank1.inflow\"", "to = \"pump1.inflow\""),
    ("[[flow]]", "[[flow]]\nfrom = \"pump1.flow\"\nto = \"tank1.inflow\"\n[[flow]]"),
    ("[[flow]]\nfrom = \"pump1.flow\"\nto = \"tank1.inflow\"\n", ""),
    // Scenario.
    ("set = { \"pump1.voltage\" = 3.2 }\n", ""),
    ("\"pump1.voltage\" = 3.2", "\"pump1.voltag\" = 3.2"),
    ("\"pump1.voltage\" = 3.2", "\"pump1.flow\" = 3.2"),
    ("\"pump1.voltage\" = 3.2", "\"pump1.voltage\" = 32"),
    ("on = \"tank1.level\"", "on = \"gauge1.x\""),
    ("on = \"tank1.level\"", "on = \"tank1.levle\""),
    ("kind = \"drift\"", "kind = \"drfit\""),
    ("kind = \"drift\"", "kind = \"bias\""),
    ("rate = \"0.5 mm/s\"", "rate = \"0.5 mm\""),
    ("kind = \"drift\", rate = \"0.5 mm/s\"", "kind = \"noise\", by = -1"),
    ("on = \"tank1\"", "on = \"gauge1\""),
    ("path = \"mqtt\"", "path = \"opcua\""),
    ("every = \"2min\"", "every = \"0s\""),
    // Several at once, with a syntax error in between.
    ("seed = 7\nperiod = \"500ms\"", "seed = \"7\"\nperiod = 500ms\nvariants = 3"),
    // A type with errors, of which the plant is not to blame.
    ("type = \"gauge\"", "type = \"broken\""),
];

#[test]
fn every_mistake_in_a_plant_is_named_with_its_place_and_cure() {
    insta::assert_snapshot!(table(GOOD, CASES, |text| read(text).diagnostics));
}

#[test]
fn a_file_without_a_plant_says_what_to_begin_with() {
    insta::assert_snapshot!(lines(&read("").diagnostics));
}

#[test]
fn options_that_the_plant_does_not_know_are_errors() {
    let options = ReadOptions {
        variant: Some("larg".into()),
        simulate: Simulate::Only(vec![DeviceId::new("tank2")]),
        step: Some(Duration::ZERO),
    };
    let checked = read_plant("plant.toml", GOOD, &CATALOG, &options);
    check_form(&checked.diagnostics);
    assert!(checked.plant.is_none());
    insta::assert_snapshot!(lines(&checked.diagnostics));
}

#[test]
fn a_message_never_carries_the_control_characters_of_the_file() {
    let text = GOOD.replace("type = \"pump\"", "type = \"p\\u001b[31m\\u202e\\nump\"");
    let checked = read(&text);
    check_form(&checked.diagnostics);
    assert_eq!(checked.diagnostics[0].message, r"unknown type `p\u{1b}[31m\u{202e}\nump`");
}
