//! `plantwin mail`: the letters that crashed their twin twice, as the plant lists them.
//!
//! Absent: handing them out again and forgetting them, which are requests (see [`super::act`]).

use serde_json::Value;

use super::status;
use crate::{
    cli::{LetterArgs, MailListArgs, Which},
    exit::{Code, Failure, OrExit},
};

pub(crate) fn list(args: &MailListArgs) -> Result<Code, Failure> {
    let letters = letters(&args.which)?;
    if args.json {
        say!("{}", Value::Array(letters));
        return Ok(Code::Ok);
    }
    if letters.is_empty() {
        say!("no letter is set aside");
    }
    for letter in &letters {
        say!("{}", summary(letter));
    }
    Ok(Code::Ok)
}

pub(crate) fn show(args: &LetterArgs) -> Result<Code, Failure> {
    let letters = letters(&args.which)?;
    let wanted = |l: &&Value| l["twin"] == args.twin.as_str() && l["id"] == args.id;
    let letter = letters.iter().find(wanted).ok_or_else(|| {
        Code::Usage.failure(format!("{} has no letter {} set aside", args.twin, args.id))
    })?;
    for key in ["twin", "id", "lane", "since", "text", "panic"] {
        let value = &letter[key];
        say!("{key:<6} {}", value.as_str().map_or_else(|| value.to_string(), printable));
    }
    Ok(Code::Ok)
}

fn letters(which: &Which) -> Result<Vec<Value>, Failure> {
    let status: Value = serde_json::from_str(&status::fetch(which)?).or_exit(Code::Unavailable)?;
    Ok(status["set_aside"].as_array().cloned().unwrap_or_default())
}

/// A letter on one line.
pub(super) fn summary(letter: &Value) -> String {
    let text = |key: &str| printable(letter[key].as_str().unwrap_or("-"));
    format!(
        "{} {} ({}, {}): {}; {}",
        text("twin"),
        letter["id"],
        text("lane"),
        text("since"),
        text("text"),
        text("panic")
    )
}

/// What a letter says comes from devices: nothing in it may drive the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_stays_on_one_line_whatever_it_says() {
        let letter = serde_json::json!({
            "id": 3, "twin": "tank1", "since": "2026-11-21T14:02:07.000Z", "lane": "latest",
            "text": "level\u{1b}[2J", "panic": "index out of bounds\nat here",
        });
        assert_eq!(
            summary(&letter),
            "tank1 3 (latest, 2026-11-21T14:02:07.000Z): level [2J; index out of bounds at here"
        );
    }
}
