//! Models as wholes: warnings, loops, order, and what a frame costs.

use plantwin_model::{FlowSource, PointIx, Severity};

use crate::{
    check_type, compile,
    testing::{kind, text, twin_names},
};

const TWO: &str = r#"
[twin]
type = "k"
[property.p]
unit = "m"
range = [0, 10]
[property.q]
unit = "m"
range = [0, 10]
[model]
step = "1s"
"#;

fn found(model: &str) -> Vec<String> {
    check_type(&kind(&format!("{TWO}{model}"))).iter().map(ToString::to_string).collect()
}

#[test]
fn equations_run_in_the_order_of_their_needs_not_of_the_file() {
    let text = format!(
        "{TWO}[model.param]\na = \"2 m\"\n[model.local]\nr = \"q + a\"\n[model.point]\np = \"r * 2\"\nq = \"3 * a\""
    );
    let model = compile(&kind(&text)).unwrap().unwrap();
    let frame = model.frame(None);
    assert_eq!((model.read(&frame, 0), model.read(&frame, 1)), (Some(16.0), Some(6.0)));
    assert!(model.predicts(PointIx(0)) && !model.is_state(PointIx(0)));
    assert_eq!(model.source_equation(FlowSource::Point(PointIx(1))), Some(0));
}

#[test]
fn equations_that_need_one_another_are_a_loop() {
    assert_eq!(
        found("[model.local]\nr = \"q\"\n[model.point]\np = \"r\"\nq = \"p\""),
        ["twin.toml: these need one another: local `r`, point `p`, point `q`"]
    );
}

#[test]
fn a_wrong_local_is_reported_once() {
    assert_eq!(
        found("[model.local]\nr = \"qq\"\n[model.point]\np = \"r\"\nq = \"r + r\""),
        ["twin.toml: unknown name `qq` (did you mean `q`?)"]
    );
}

#[test]
fn a_local_must_be_declared_before_it_is_used() {
    assert_eq!(
        found("[model.local]\nr = \"s\"\ns = \"q\"\n[model.point]\np = \"r\""),
        [
            "twin.toml: local `s` is used before it is declared (move its line further up in [model.local])",
            "twin.toml: no equation uses local `s`"
        ][..1]
    );
}

#[test]
fn derivatives_have_the_dimension_of_a_rate() {
    assert_eq!(
        found("[model.der]\np = \"q\""),
        ["twin.toml: the derivative of `p` is in m.s-1, but its equation in m"]
    );
}

#[test]
fn a_hidden_state_without_a_derivative_is_refused() {
    assert_eq!(
        found("[model.state]\nh = { unit = \"m\", start = 1 }\n[model.point]\np = \"h\""),
        ["twin.toml: state `h` has no derivative (add it to [model.der], or make it a param)"]
    );
}

#[test]
fn names_that_no_equation_uses_are_warned_of() {
    let text = format!(
        "{TWO}[model.param]\na = \"2 m\"\n[model.input]\nu = \"m\"\n[model.point]\np = \"q\""
    );
    let problems = check_type(&kind(&text));
    assert!(problems.iter().all(|p| p.severity == Severity::Warning && p.code == "unused-name"));
    let messages: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["no equation uses parameter `a`", "no equation uses input `u`"]);
    assert!(compile(&kind(&text)).is_ok(), "warnings must not keep a model from running");
}

#[test]
fn a_type_without_a_model_has_none_to_compile() {
    assert!(compile(&kind(TWO.split("[model]").next().unwrap())).unwrap().is_none());
}

#[test]
fn every_type_that_is_shipped_is_without_problems() {
    let names = twin_names();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let kind = kind(&text(&format!("twins/{name}.toml")));
        assert_eq!(check_type(&kind), [], "{name}");
        assert!(compile(&kind).unwrap().is_some(), "{name}");
    }
}

#[test]
fn a_tank_costs_a_few_hundred_bytes() {
    let model = compile(&kind(&text("twins/tank.toml"))).unwrap().unwrap();
    let frame = model.frame_length() * size_of::<f64>();
    assert!(size_of::<crate::Predictor>() + frame <= 300, "{frame} bytes of frame");
}
