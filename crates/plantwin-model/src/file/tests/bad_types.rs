//! What is said about bad twin files: one case a line, all of them in one snapshot.

use super::{CATALOG, TANK, lines, read_type, table};

/// Cases in which one text of the good type is replaced by another.
const CASES: &[(&str, &str)] = &[
    // Head.
    ("[twin]\ntype = \"tank\"", "[twin]"),
    ("type = \"tank\"", "type = \"-tank\""),
    ("version = 2", "version = 0"),
    ("energy = \"esp32c3-wifi\"", "energy = \"lora\""),
    ("[twin]", "[twine]"),
    // Points.
    ("unit = \"cm\"", "unit = \"centimetre\""),
    ("unit = \"cm\"", "unit = \"kg//s\""),
    ("unit = \"V\"", "unit = \"v\""),
    ("unit = \"Cel\"", "unit = \"°C\""),
    ("unit = \"Cel\"", "unit = \"J/Cel\""),
    ("unit = \"cm\"\n", ""),
    ("range = [0, 20]\n", ""),
    ("range = [0, 20]", "range = [20, 0]"),
    ("range = [0, 20]", "range = [0, 20, 30]"),
    ("range = [0, 20]", "range = [0, \"20 V\"]"),
    ("start = 12.4", "start = 21"),
    ("access = \"rw\"", "access = \"w\""),
    ("noise = 0.005", "noise = -0.005"),
    ("resolution = \"0.01 mm\"", "resolution = \"0.01 K\""),
    ("stale_after = \"3s\"", "stale_after = 3"),
    ("[property.level]", "[property.le-vel]"),
    ("[property.setting]", "[property.t]"),
    // Commands.
    ("set = { setting = \"1000 mV\" }", "set = { setting = 11 }"),
    ("set = { setting = \"1000 mV\" }", "set = { level = 1 }"),
    ("set = { setting = \"1000 mV\" }", "set = { seting = 1 }"),
    ("args = [\"setting\"]", "args = [\"setting\", \"setting\"]"),
    ("args = [\"setting\"]", "args = [3]"),
    ("args = [\"setting\"]", ""),
    ("role = \"engineer\"", "role = \"admin\""),
    ("confirm = false", "confirm = \"no\""),
    // Alarms.
    ("noise = 0.005", "noise = \"1e308 Gm\""),
    ("level > 18", "level >= 18"),
    ("level > 18", "levl > 18"),
    ("level > 18", "level > 21"),
    ("level > 18", "level"),
    ("priority = \"high\"", "priority = \"hi\""),
    ("deadband = \"5 mm\"", "deadband = -1"),
    ("deadband = \"5 mm\"", "deadband = \"1 s\""),
    ("on_delay = \"2s\"", "on_delay = \"2\""),
    ("response = \"close the inlet\"\n", ""),
    ("response = \"close the inlet\"", "response = \" \""),
    ("consequence = \"overflow\"", "consequences = \"overflow\""),
    // Model.
    ("method = \"euler\"", "method = \"rk45\""),
    ("step = \"100ms\"\n", ""),
    ("step = \"100ms\"", "step = \"0s\""),
    ("correction = 0.1", "correction = 1.1"),
    ("area = \"28 cm2\"", "area = \"28 cm²\""),
    ("area = \"28 cm2\"", "area = \"big\""),
    ("area = \"28 cm2\"", "area = \"1e308 km2\""),
    ("area = \"28 cm2\"", "area = 28 cm2"),
    ("gain = 2", "level = 2"),
    ("gain = 2", "sqrt = 2"),
    ("inflow = \"cm3/s\"", "inflow = \"cm3/sec\""),
    ("default = \"1 kW\"", "default = \"1 kg\""),
    ("default = \"1 kW\"", "defualt = 1"),
    ("core = { unit = \"Cel\", start = 20 }", "core = { unit = \"Cel\" }"),
    ("x = [0, 5, 10]", "x = [0, 5]"),
    ("x = [0, 5, 10]", "x = [0, 10, 5]"),
    ("x = [0, 5, 10]", "x = [0, 5, \"10 s\"]"),
    ("outside = \"extend\"", "outside = \"wrap\""),
    ("drain = \"gain * curve(setting)\"", "drain = 7"),
    ("drain = \"gain * curve(setting)\"", "drain = \" \""),
    ("level = \"(inflow - drain) / area\"", "levle = \"(inflow - drain) / area\""),
    ("outlet = \"core\"", "otlet = \"core\""),
    ("outlet = \"core\"", "setting = \"core\""),
    ("outlet = \"core\"", "level = \"core\""),
    ("outflow = { unit = \"cm3/s\", value = \"drain\" }", "outflow = \"drain\""),
    ("outflow = { unit = \"cm3/s\", value = \"drain\" }", "outflow = { value = \"drain\" }"),
    ("outflow = {", "level = {"),
    ("[model.der]", "[model.ders]"),
];

#[test]
fn every_mistake_in_a_type_is_named_with_its_place_and_cure() {
    let read = |text: &str| read_type("tank.toml", text, &CATALOG).diagnostics;
    insta::assert_snapshot!(table(TANK, CASES, read));
}

#[test]
fn a_type_without_points_is_refused() {
    let checked = read_type("x.toml", "[twin]\ntype = \"x\"\n", &CATALOG);
    assert!(checked.kind.is_none());
    assert_eq!(
        lines(&checked.diagnostics),
        "  Error missing-key: x.toml:1:1: a type needs at least one point: [property.NAME]\n"
    );
}
