//! `plantwin demo`: a plant from inside the binary.

use super::{read, run};
use crate::{
    cli::DemoArgs,
    exit::{Code, Failure},
    library,
};

pub(crate) fn demo(args: &DemoArgs) -> Result<Code, Failure> {
    if args.list {
        say!("plants:");
        for (name, text) in library::PLANTS {
            say!("  {name:<20} {}", title(text));
        }
        say!("twin types:");
        for (name, text) in library::TWINS {
            say!("  {name:<20} {}", title(text));
        }
        return Ok(Code::Ok);
    }
    let Some(text) = library::shipped_plant(&args.name) else {
        let names: Vec<_> = library::PLANTS.iter().map(|(n, _)| *n).collect();
        let name = &args.name;
        let names = names.join(", ");
        return Err(Code::Usage.failure(format!("no shipped plant {name}; there are: {names}")));
    };
    if args.print {
        print!("{text}");
        return Ok(Code::Ok);
    }
    let file = format!("<built-in>/{}.toml", args.name);
    let plant = read::sound(read::from_text(&file, text, None, &args.read)?)?;
    run::plant(plant, &args.how, None)
}

/// The first `title = "..."` of a file, for a list.
fn title(text: &str) -> &str {
    text.lines()
        .find_map(|l| l.trim().strip_prefix("title"))
        .and_then(|rest| rest.split('"').nth(1))
        .unwrap_or("")
}
