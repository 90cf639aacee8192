//! Equations by what they give and by what is wrong with them.

use plantwin_model::Severity;
use proptest::prelude::*;

use crate::{Problem, check_type, model, parse_equation, testing::kind};

/// A type whose point `y` equals `equation`; `a` = 2, `b` = 3 (parameters), `x` = 5 (a point),
/// `u` = 7 (an input), `len` = 4 m, `when` = 3 s, and a table `curve`.
fn type_of(equation: &str, unit: &str) -> String {
    format!(
        r#"
[twin]
type = "k"
[property.y]
unit = "{unit}"
range = [-1e300, 1e300]
[property.x]
unit = "1"
range = [-1e9, 1e9]
start = 5
access = "rw"
[model]
step = "1s"
[model.param]
a = 2
b = 3
len = "4 m"
when = "3 s"
[model.input]
u = {{ unit = "1", default = 7 }}
[model.table.curve]
x = [0, 1, 3]
y = [0, 10, 20]
[model.table.line]
x = [0, 1, 3]
y = [0, 10, 20]
outside = "extend"
[model.point]
y = '''{equation}'''
"#
    )
}

fn value(equation: &str) -> f64 {
    let model = model::build(&kind(&type_of(equation, "1")));
    let model = model.unwrap_or_else(|p| panic!("{equation}: {p:?}"));
    model.read(&model.frame(None), 0).unwrap()
}

fn errors(equation: &str, unit: &str) -> Vec<Problem> {
    let text = type_of(equation, unit);
    let mut found = check_type(&kind(&text));
    found.retain(|p| p.severity == Severity::Error);
    for problem in &found {
        assert!(problem.message.chars().count() <= 200, "{problem}");
        assert!(text.get(problem.span.start as usize..problem.span.end as usize).is_some());
    }
    found
}

#[track_caller]
fn check(equation: &str, expected: f64) {
    let found = value(equation);
    let same = found == expected || (found.is_nan() && expected.is_nan());
    assert!(same, "{equation} = {found}, not {expected}");
}

/// The equation has one problem: its code, the text it points at, its message and help.
#[track_caller]
fn wrong(equation: &str, code: &str, at: &str, says: &str) {
    let found = errors(equation, "1");
    let [problem] = found.as_slice() else { panic!("{equation}: {found:?}") };
    let text = type_of(equation, "1");
    assert_eq!(problem.code, code, "{problem}");
    assert_eq!(&text[problem.span.start as usize..problem.span.end as usize], at, "{problem}");
    assert!(problem.to_string().contains(says), "{problem}");
}

#[test]
fn operators_bind_as_in_mathematics() {
    check("1 + 2 * 3", 7.0);
    check("(1 + 2) * 3", 9.0);
    check("10 - 4 - 3", 3.0);
    check("16 / 4 / 2", 2.0);
    check("2 ^ 3 ^ 2", 512.0);
    check("-2 ^ 2", -4.0);
    check("2 ^ -1", 0.5);
    check("--2", 2.0);
    check("+2 - -3", 5.0);
    check("1 + 2 < 4", 1.0);
    check("2 * 3 >= 6", 1.0);
    check("1.5e1 + .5 + 2.", 17.5);
}

#[test]
fn names_stand_for_parameters_points_inputs_and_tables() {
    check("a * x + u - b", 14.0);
    check("(a + b) * (a * x + (b * b) ^ 0.5)", 65.0);
    check("len / len * t / when", 0.0);
    check("curve(0.5)", 5.0);
    check("curve(2)", 15.0);
    check("curve(-1)", 0.0);
    check("curve(x)", 20.0);
    check("line(-1)", -10.0);
    check("line(x)", 30.0);
    check("line(a)", 15.0);
}

#[test]
fn functions_give_what_their_names_say() {
    check("if(x > 3, a, b)", 2.0);
    check("if(x < 3, a, b)", 3.0);
    check("if(x - x, a, b)", 3.0);
    check("min(x, a) + max(x, a)", 7.0);
    check("abs(-x)", 5.0);
    check("sqrt(x * x)", 5.0);
    check("exp(x - x) + ln(x / x)", 1.0);
    check("sin(x - x) + cos(x - x) + tanh(x - x)", 1.0);
    check("clamp(x, 0, a) + clamp(-x, -1, 1)", 1.0);
    check("clamp(x, b, a)", 3.0);
    check("sign(-x) + sign(x - x)", -1.0);
    check("floor(x / a)", 2.0);
    check("(x == 5) + (x != 5) + (x <= 5) + (x > 5)", 2.0);
}

#[test]
fn a_broken_value_does_not_vanish_in_a_comparison_of_two() {
    check("max(sqrt(-x), 0)", f64::NAN);
    check("min(0, sqrt(-x))", f64::NAN);
    check("clamp(sqrt(-x), 0, 1)", f64::NAN);
    check("if(sqrt(-x), 0, 1)", f64::NAN);
    check("if(x > 0, 1, sqrt(-x))", 1.0);
    check("curve(sqrt(-x))", f64::NAN);
}

#[test]
fn what_is_constant_is_computed_once() {
    let instructions = |equation: &str| {
        let model = model::build(&kind(&type_of(equation, "1"))).unwrap();
        model.equations().iter().map(|e| e.code.len()).sum::<usize>()
    };
    assert_eq!(instructions("2 * 3 + sqrt(16) - x"), 1);
    assert_eq!(instructions("(a + b) * exp(a / b) * x"), 1);
    assert_eq!(instructions("x ^ 2"), 1);
}

#[test]
fn mistakes_are_named_and_placed() {
    wrong("1 +", "syntax", "", "expected a number, a name or `(`, but the equation ends");
    wrong("(1 + 2", "syntax", "(", "never closed");
    wrong("1 + 2)", "syntax", ")", "`)` without `(`");
    wrong("1 2", "syntax", "2", "expected an operator, but found `2`");
    wrong("2x", "syntax", "2x", "not a number");
    wrong("1.2.3", "syntax", "1.2.3", "not a number");
    wrong("1e999", "syntax", "1e999", "not a number");
    wrong("x = 3", "syntax", "=", "compare with `==`");
    wrong("x § 3", "syntax", "§", "has no meaning");
    wrong("x > 1 && x < 2", "syntax", "&", "multiply conditions");
    wrong("1 < x < 3", "syntax", "<", "cannot be chained");
    wrong("max(1, 2, 3, 4)", "arguments", "4", "more than 3");
    wrong("max(1)", "arguments", "max", "takes 2 arguments, not 1");
    wrong("max(1, )", "syntax", ")", "expected a number");
    wrong("max(1 2)", "syntax", "2", "`,` or `)`");
    wrong("sqrt", "arguments", "sqrt", "needs arguments");
    wrong("a(3)", "unknown-function", "a", "write `a * (...)`");
    wrong("sqr(3)", "unknown-function", "sqr", "did you mean `sqrt`?");
    wrong("curv(3)", "unknown-function", "curv", "did you mean `curve`?");
    wrong("1 + lenn / len", "unknown-name", "lenn", "did you mean `len`?");
    wrong("1 + voltage", "unknown-name", "voltage", "known: a, b, len, t, u, when, x, y");
    wrong("y + 1", "cycle", "y + 1", "need one another");
    wrong("1 / 0", "not-finite", "1 / 0", "never finite");
}

#[test]
fn dimensions_must_agree() {
    wrong(
        "len + when",
        "wrong-dimension",
        "when",
        "this is in s, but what it is joined with is in m",
    );
    wrong("len + 1", "wrong-dimension", "1", "this is in 1");
    wrong("exp(len)", "wrong-dimension", "len", "must be a pure number, but this is in m");
    wrong("sqrt(x) ^ len", "wrong-dimension", "len", "an exponent must be a pure number");
    wrong("len ^ x", "wrong-dimension", "x", "must be constant");
    wrong("len ^ 0.3", "wrong-dimension", "0.3", "has no dimension");
    wrong("curve(len)", "wrong-dimension", "len", "an argument of `curve`");
    wrong("if(len, 1, 2)", "wrong-dimension", "len", "a condition");
    wrong("max(len, when)", "wrong-dimension", "when", "this is in s");
    wrong("len", "wrong-dimension", "len", "point `y` is in 1, but its equation in m");
    assert_eq!(errors("max(len, 0) * sqrt(len ^ 2) / when", "m2/s"), []);
    assert_eq!(errors("len ^ 0.5 * len ^ 1.5", "m2"), []);
    assert_eq!(errors("if(len > 0, len, 0)", "m"), []);
    assert_eq!(errors("0", "kg.m2"), []);
}

#[test]
fn text_beyond_the_limits_is_refused_before_it_costs_anything() {
    let code = |text: &str| parse_equation(text).unwrap_err().code;
    assert_eq!(code(&"(".repeat(300_000)), "too-long");
    assert_eq!(code(&"(".repeat(4_000)), "too-deep");
    assert_eq!(code(&"-".repeat(4_000)), "too-deep");
    assert_eq!(code(&format!("{}1", "+".repeat(4_000))), "too-deep");
    assert_eq!(code(&format!("{}1", "1^".repeat(2_000))), "too-deep");
    assert_eq!(code(&format!("{}1", "1<(".repeat(1_000))), "too-deep");
    assert_eq!(code(&"sqrt(".repeat(800)), "too-deep");
    let deep = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(parse_equation(&deep(63)), Ok(()));
    assert_eq!(code(&deep(64)), "too-deep");
    // Long but flat is no problem: two thousand additions fold to one constant ...
    check(&format!("{}1", "1+".repeat(2_000)), 2001.0);
    // ... unless they must really be done.
    let [problem] = &errors(&format!("{}x", "x+".repeat(1_001)), "1")[..] else { panic!() };
    assert_eq!(problem.code, "too-long");
    check(&format!("{}x", "x+".repeat(1_000)), 5005.0);
}

/// Pairs of a text and what it must give, computed the other way.
fn pairs() -> impl Strategy<Value = (String, f64)> {
    let leaf = prop_oneof![
        (0_u32..1000).prop_map(|n| (format!("{n}"), f64::from(n))),
        Just(("x".to_owned(), 5.0)),
        Just(("a".to_owned(), 2.0)),
        Just(("u".to_owned(), 7.0)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|((s, a), (t, b))| (format!("({s} + {t})"), a + b)),
            two.clone()
                .prop_map(|((s, a), (t, b))| (format!("({s}) - ({t})"), a - b))
                .prop_map(|(s, a)| (format!("({s})"), a)),
            two.clone().prop_map(|((s, a), (t, b))| (format!("({s} * {t})"), a * b)),
            two.clone().prop_map(|((s, a), (t, b))| (format!("({s} / {t})"), a / b)),
            two.clone().prop_map(|((s, a), (t, b))| {
                (
                    format!("if({s} <= {t}, {t}, -{s})"),
                    if a.is_nan() || b.is_nan() {
                        f64::NAN
                    } else if a <= b {
                        b
                    } else {
                        -a
                    },
                )
            }),
            inner.clone().prop_map(|(s, a)| (format!("(-{s})"), -a)),
            inner.clone().prop_map(|(s, a)| (format!("abs({s})"), a.abs())),
            inner.prop_map(|(s, a)| (format!("tanh({s})"), a.tanh())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn code_gives_what_the_formula_gives((text, expected) in pairs()) {
        // A formula that is constant and not finite is refused, and NaN is compared elsewhere.
        prop_assume!(expected.is_finite());
        let built = model::build(&kind(&type_of(&text, "1")));
        prop_assume!(built.is_ok());
        let model = built.unwrap();
        let found = model.read(&model.frame(None), 0).unwrap();
        prop_assert!(found == expected, "{text} = {found}, not {expected}");
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse_equation(&text);
    }

    #[test]
    fn no_soup_of_tokens_makes_the_compiler_panic(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "(", ")", ",", "+", "-", "*", "/", "^", "<", ">=", "==", "x", "a", "len", "u", "t",
                "y", "0", "1", "2.5", "1e9", "if", "max", "sqrt", "exp", "clamp", "curve", "line", " ",
            ]),
            0..40,
        ),
    ) {
        let text = tokens.concat();
        prop_assume!(!text.trim().is_empty());
        if let Ok(model) = model::build(&kind(&type_of(&text, "1"))) {
            let mut frame = model.frame(None);
            model.evaluate(&mut frame, 1.0);
        }
    }
}
