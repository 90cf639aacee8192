//! Any text as an equation: never a panic, and code that runs if there is no error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plantwin_model::{
    MESSAGE_LIMIT,
    file::{Catalog, read_type},
};
use plantwin_physics::{check_type, parse_equation};

/// A type whose one equation is the text.
const AROUND: [&str; 2] = [
    r#"
[twin]
type = "k"
[property.x]
unit = "m"
range = [-9, 9]
start = 1
[property.y]
unit = "m"
range = [-9, 9]
[model]
step = "1s"
method = "euler"
[model.param]
a = 2
tau = "3 s"
[model.input]
u = { unit = "m", default = 7 }
[model.table.curve]
x = [0, 1]
y = [0, 10]
[model.der]
x = "-x / tau"
[model.point]
y = '''"#,
    "'''\n",
];

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Err(problem) = parse_equation(&text) {
        assert!(problem.message.chars().count() <= MESSAGE_LIMIT, "{problem}");
    }
    let whole = format!("{}{text}{}", AROUND[0], AROUND[1]);
    if let Some(kind) = read_type("twin.toml", &whole, &Catalog::default()).kind {
        for problem in check_type(&kind) {
            assert!(problem.message.chars().count() <= MESSAGE_LIMIT, "{problem}");
            assert!(problem.span.end as usize <= whole.len(), "{problem:?}");
        }
    }
});
