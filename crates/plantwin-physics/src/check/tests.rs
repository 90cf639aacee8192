//! What is refused at load, in the real plants and in broken ones.

use crate::{
    check, check_type,
    testing::{complaints, kind, one, plant, plant_names, plant_text, text},
};

fn messages(plant: &plantwin_model::PlantSpec) -> Vec<String> {
    check(plant).iter().map(ToString::to_string).collect()
}

#[test]
fn every_plant_that_is_shipped_is_without_problems() {
    let names = plant_names();
    for needed in ["quadruple-tank", "cstr", "dc-motor", "mixed-line"] {
        assert!(names.iter().any(|n| n == needed), "{names:?}");
    }
    for name in names {
        assert_eq!(complaints(&name), [""; 0], "{name}");
        assert_eq!(check(&plant(&name, None, &[])), [], "{name}");
    }
    assert_eq!(check(&plant("quadruple-tank", Some("plus-phase"), &[])), []);
}

#[test]
fn the_mixed_line_is_as_large_as_it_says() {
    let plant = plant("mixed-line", None, &[]);
    assert_eq!(plant.devices.len(), 30);
    assert_eq!(plant.zones.len(), 3);
    assert!(plant.devices.iter().filter(|d| d.paths.len() > 1).count() >= 2);
    let zone = |d: plantwin_model::DeviceIx| plant.devices[d.index()].zone;
    assert!(plant.flows.iter().filter(|f| zone(f.from) != zone(f.to)).count() >= 4);
}

#[test]
fn a_reactor_is_refused_with_a_step_that_would_ignite_it_wrongly() {
    // 0.01 min and 0.02 min give a peak of 460 K and none at all instead of 476 K.
    for step in ["600ms", "1200ms"] {
        let replace = [("step = \"50ms\"", &*format!("step = \"{step}\""))];
        let found = check(&plant("cstr", None, &replace));
        assert!(
            found.iter().any(|p| p.code == "step-too-large" && p.message.contains("reactor1")),
            "{step}: {found:?}"
        );
    }
}

#[test]
fn the_small_motor_with_its_inductance_is_refused_at_one_kilohertz() {
    let position = text("plants/dc-motor.toml");
    assert!(position.contains("2.75e-6 H"), "the figure below is the file's");
    let kind = kind(
        r#"
[twin]
type = "position-motor"
[property.voltage]
unit = "V"
range = [-5, 5]
access = "rw"
[property.speed]
unit = "rad/s"
range = [-200, 200]
[model]
step = "1ms"
[model.param]
inertia = "3.2284e-6 kg.m2"
friction = "3.5077e-6 N.m.s"
constant = "0.0274 N.m/A"
resistance = "4 Ohm"
inductance = "2.75e-6 H"
[model.state]
current = { unit = "A", start = 0 }
[model.der]
speed = "(constant * current - friction * speed) / inertia"
current = "(voltage - resistance * current - constant * speed) / inductance"
"#,
    );
    let found = check_type(&kind);
    let [problem] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(problem.code, "step-too-large");
    assert_eq!(
        problem.to_string(),
        "twin.toml: step too large for `position-motor`: fastest rate 1.4545e6/s times step 1 ms \
         is 1.4545e3, above 2 (the largest step that is let pass is 1.37 us)"
    );
}

#[test]
fn a_step_just_below_the_limit_passes_and_just_above_does_not() {
    let lag = |step: &str| {
        format!(
            "\n[property.x]\nunit = \"1\"\nrange = [0, 9]\nstart = 1\n[model]\nstep = \"{step}\"\n[model.param]\ntau = \"1 s\"\n[model.der]\nx = \"-x / tau\"\n"
        )
    };
    assert_eq!(check(&one(&lag("1990ms"), "1990ms")), []);
    let found = messages(&one(&lag("2010ms"), "2010ms"));
    assert_eq!(
        found,
        [
            "plant.toml: step too large for `d`: fastest rate 1.0000e0/s times step 2.01 s is 2.0100e0, \
          above 2 (the largest step that is let pass is 2 s)"
        ]
    );
}

/// Two devices that are slow alone, but not together: `x` and `y` chase each other's gap.
const COUPLED: &str = r#"
[plant]
name = "p"
step = "1s"
[zone.z]
[device.left]
type = "k"
zone = "z"
[device.left.mqtt]
[device.right]
type = "k"
zone = "z"
[device.right.mqtt]
[[flow]]
from = "left.force"
to = "right.push"
[[flow]]
from = "right.force"
to = "left.push"
[type.k.property.x]
unit = "1"
range = [-9, 9]
start = 1
[type.k.model]
step = "1s"
[type.k.model.param]
rate = "0.1 1/s"
gain = "5 1/s"
[type.k.model.input]
push = "1/s"
[type.k.model.der]
x = "push - rate * x"
[type.k.model.out]
force = { unit = "1/s", value = "-gain * x" }
"#;

#[test]
fn a_step_is_judged_for_all_devices_together() {
    let found = messages(&plant_text(COUPLED));
    let [message] = found.as_slice() else { panic!("{found:?}") };
    assert!(message.contains("fastest rate 5.1000e0/s times step 1 s"), "{message}");
    assert_eq!(check(&plant_text(&COUPLED.replace("\"5 1/s\"", "\"1 1/s\""))), []);
}

#[test]
fn a_loop_of_flows_without_state_names_its_devices() {
    let text = COUPLED.replace("\"-gain * x\"", "\"-0.5 * push + 0 * gain * x\"");
    let plant = plant_text(&text);
    let found = check(&plant);
    let [problem] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(problem.code, "cycle");
    let names = ["left -> right -> left", "right -> left -> right"];
    assert!(names.iter().any(|n| problem.message.contains(n)), "{problem}");
    assert!(text[problem.span.start as usize..].starts_with("[[flow]]"), "{problem:?}");
}

#[test]
fn the_step_of_a_physical_devices_twin_is_judged_too() {
    let text = COUPLED
        .replace("\"0.1 1/s\"", "\"9 1/s\"")
        .replace("type = \"k\"", "type = \"k\"\nmode = \"physical\"");
    let found = messages(&plant_text(&text));
    let [message] = found.as_slice() else { panic!("{found:?}") };
    assert!(message.contains("fastest rate 9.0000e0/s"), "{message}");
}

#[test]
fn a_step_that_breaks_down_on_the_way_is_refused() {
    let found = messages(&one(
        "\n[property.x]\nunit = \"1\"\nrange = [0, 9]\nstart = 1\n[model]\nmethod = \"euler\"\nstep = \"1s\"\n[model.param]\nrate = \"0.3 1/s\"\n[model.der]\nx = \"-rate / sqrt(x)\"\n",
        "1s",
    ));
    let [message] = found.as_slice() else { panic!("{found:?}") };
    assert!(message.contains("gives none"), "{message}");
}

#[test]
fn a_derivative_that_is_not_finite_at_the_start_is_refused() {
    let found = messages(&one(
        "\n[property.x]\nunit = \"1\"\nrange = [-9, 9]\nstart = -1\n[model]\nstep = \"1s\"\n[model.param]\nrate = \"1 1/s\"\n[model.der]\nx = \"rate * sqrt(x)\"\n",
        "1s",
    ));
    assert_eq!(found, ["plant.toml: a derivative of `d` is not finite at its start"]);
}

#[test]
fn a_type_of_many_devices_is_wrong_once() {
    let text = COUPLED.replace("\"push - rate * x\"", "\"push - rat * x\"");
    let found = messages(&plant_text(&text));
    assert_eq!(found.iter().filter(|m| m.contains("unknown name `rat`")).count(), 1, "{found:?}");
}
