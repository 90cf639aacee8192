//! What a good file says arrives in the plant.

use std::time::Duration;

use super::{CATALOG, GOOD, TANK, lines, read};
use crate::{
    Access, Compare, DeviceId, FaultKind, FlowSource, Method, Mode, Outside, PlantSpec, PointIx,
    Priority, Role, ScenarioAction, SettingValue, Target, TwinType,
    file::{ReadOptions, Simulate, read_plant, read_type},
};

#[track_caller]
fn plant(text: &str, options: &ReadOptions) -> PlantSpec {
    let checked = read_plant("plant.toml", text, &CATALOG, options);
    assert_eq!(lines(&checked.diagnostics), "");
    checked.plant.expect("no diagnostics, so there is a plant")
}

fn tank() -> TwinType {
    let checked = read_type("tank.toml", TANK, &CATALOG);
    assert_eq!(lines(&checked.diagnostics), "");
    TwinType::clone(&checked.kind.expect("no diagnostics, so there is a type"))
}

#[track_caller]
fn near(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{got} is not {want}");
}

#[test]
fn a_good_plant_is_read_without_a_word() {
    let plant = plant(GOOD, &ReadOptions::default());
    assert_eq!((plant.name.as_str(), plant.seed), ("test-line", 7));
    assert_eq!(plant.step, Duration::from_millis(10), "the smallest step of its models");
    let names: Vec<_> = plant.devices.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(names, ["pump1", "tank1", "gauge1"], "in the order of the file");
    assert_eq!(plant.devices[1].zone.index(), 1);
    assert_eq!(plant.zones[0].peers.len(), 1);
    assert_eq!(plant.listen["mqtt"], "127.0.0.1:1883");
    let flow = &plant.flows[0];
    assert_eq!((flow.from.index(), flow.to.index(), flow.input), (0, 1, 0));
    assert_eq!(flow.source, FlowSource::Point(PointIx(1)));
}

#[test]
fn a_device_takes_what_its_table_overrides_and_the_rest_from_its_type() {
    let plant = plant(GOOD, &ReadOptions::default());
    let tank = &plant.devices[1];
    assert_eq!((tank.mode, tank.period), (Mode::Simulated, Duration::from_millis(200)));
    near(tank.params[1], 3.0);
    assert_eq!(tank.energy_profile, "ethernet");
    near(tank.budget_joules.expect("the file gives one"), 5000.0);
    let [first, second] = &tank.paths[..] else { panic!("two paths") };
    assert_eq!((first.protocol, second.protocol), ("coap", "mqtt"), "in order of preference");
    assert_eq!(first.text("addr"), Some("127.0.0.1:5683"));
    assert_eq!(first.point_text(PointIx(0), "path"), Some("l"));
    let pump = &plant.devices[0];
    assert_eq!(pump.energy_profile, "ethernet");
    assert_eq!(pump.paths[0].settings["retain"], SettingValue::Flag(true));
    assert_eq!(pump.paths[0].settings["keep_alive"], SettingValue::Number(30.0));
    assert_eq!(pump.paths[0].settings["qos"], SettingValue::Integer(1));
    assert_eq!(plant.devices[2].mode, Mode::Physical);
}

#[test]
fn a_variant_overrides_parameters_and_start_values() {
    let small = plant(GOOD, &ReadOptions::default());
    assert_eq!(small.variants, ["small", "large"]);
    near(small.devices[1].params[0], 20e-4);
    near(small.devices[1].start[0], 5.0);
    let options = ReadOptions { variant: Some("large".into()), ..Default::default() };
    let large = plant(GOOD, &options);
    assert_eq!(large.variant.as_deref(), Some("large"));
    near(large.devices[1].params[0], 40e-4);
    near(large.devices[1].start[0], 10.0);
}

#[test]
fn stale_after_defaults_to_three_periods_of_the_device() {
    let plant = plant(GOOD, &ReadOptions::default());
    let stale = |d: usize, p: usize| plant.devices[d].kind.points[p].stale_after;
    assert_eq!(stale(0, 0), Duration::from_millis(1500));
    assert_eq!(stale(1, 0), Duration::from_secs(3), "the type says so");
    assert_eq!(stale(1, 1), Duration::from_millis(600));
}

#[test]
fn options_decide_who_is_simulated_whatever_the_file_says() {
    let modes = |simulate| {
        // Faults need a simulated device.
        let text = GOOD.split("[[scenario]]").next().expect("split yields at least one");
        let plant = plant(text, &ReadOptions { simulate, ..Default::default() });
        plant.devices.iter().map(|d| d.mode == Mode::Simulated).collect::<Vec<_>>()
    };
    assert_eq!(modes(Simulate::AsWritten), [true, true, false]);
    assert_eq!(modes(Simulate::All), [true, true, true]);
    assert_eq!(
        modes(Simulate::Only(vec![DeviceId::new("gauge1"), DeviceId::new("tank1")])),
        [false, true, true]
    );
    // MQTT goes to the hub and so needs no address.
    assert_eq!(modes(Simulate::None), [false, false, false]);
}

#[test]
fn scenario_steps_arrive_in_the_units_of_their_points() {
    let plant = plant(GOOD, &ReadOptions::default());
    let step = &plant.scenario[0];
    assert_eq!((step.at.as_secs(), step.repeat), (60, Some(Duration::from_mins(2))));
    assert!(matches!(step.action, ScenarioAction::Set { value, .. } if value == 3.2));
    let ScenarioAction::Fault { kind: FaultKind::Drift(rate), lasts, .. } =
        plant.scenario[1].action
    else {
        panic!("a drift")
    };
    near(rate, 0.05);
    assert_eq!(lasts, Some(Duration::from_secs(30)));
    let ScenarioAction::PathDown { path, lasts, .. } = plant.scenario[2].action else {
        panic!("a silent path")
    };
    assert_eq!((path, lasts), (1, None));
}

#[test]
fn a_fault_without_a_path_silences_all_paths() {
    let text = GOOD.replace(", path = \"mqtt\"", "");
    assert_eq!(plant(&text, &ReadOptions::default()).scenario.len(), 4);
}

#[test]
fn a_type_arrives_in_full() {
    let tank = tank();
    assert_eq!((tank.name.as_str(), tank.version, tank.title.as_str()), ("tank", 2, "Open tank"));
    let names: Vec<_> = tank.points.iter().map(|p| &*p.name).collect();
    assert_eq!(names, ["level", "outlet", "setting"]);
    near(tank.points[0].resolution, 0.001);
    near(tank.points[1].start, 26.85);
    near(tank.points[2].start, 1.0);
    assert_eq!(tank.points[2].access, Access::ReadWrite);
    let [trip, adjust] = &tank.commands[..] else { panic!("two commands") };
    assert_eq!((trip.role, trip.confirm), (Role::Engineer, false));
    near(trip.set[0].1, 1.0);
    assert_eq!(adjust.args, [PointIx(2)]);
    let alarm = &tank.alarms[0];
    assert_eq!((alarm.compare, alarm.priority), (Compare::Above, Priority::High));
    near(alarm.deadband, 0.5);
}

#[test]
fn a_model_arrives_in_si_units_with_its_equations_as_text() {
    let model = tank().model.expect("the tank has one");
    assert_eq!(model.method, Method::Euler);
    near(model.params[0].value, 28e-4);
    near(model.inputs[1].default, 1000.0);
    near(model.states[0].start, 293.15);
    let curve = &model.tables[0];
    assert_eq!(curve.outside, Outside::Extend);
    near(curve.y[2], 31e-6);
    let locals: Vec<_> = model.locals.iter().map(|(n, t)| (&**n, t.text.as_str())).collect();
    assert_eq!(locals, [("drain", "gain * curve(setting)"), ("twice", "2 * drain")]);
    assert_eq!(model.ders[0].0, Target::Point(PointIx(0)));
    assert_eq!(model.ders[1].0, Target::State(0));
}

#[test]
fn the_place_of_an_equation_is_the_text_inside_its_quotes() {
    let model = tank().model.expect("the tank has one");
    let texts = model.locals.iter().map(|(_, t)| t).chain(model.ders.iter().map(|(_, t)| t));
    for source in texts.chain(model.outputs.iter().map(|o| &o.expr)) {
        let (start, end) = (source.span.start as usize, source.span.end as usize);
        assert_eq!(&TANK[start..end], source.text);
    }
}

#[test]
fn sound_types_are_there_even_if_the_plant_is_not() {
    let checked = read(&GOOD.replace("zone = \"control\"", "zone = \"contrl\""));
    assert!(checked.plant.is_none());
    let names: Vec<_> = checked.types.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["gauge", "pump", "tank"]);
}

#[test]
fn a_warning_does_not_stop_the_plant() {
    let text = GOOD.replace("[[flow]]\nfrom = \"pump1.flow\"\nto = \"tank1.inflow\"\n", "");
    let checked = read(&text);
    assert_eq!(checked.diagnostics[0].code, "unfed-input");
    assert!(checked.plant.is_some());
}
