//! `plantwin can-i`: whether somebody may do something, and by which rule.

use std::{sync::Arc, time::Duration};

use plantwin_adapter::SystemClock;
use plantwin_authority::policy::{Explanation, Policy, Question as Doubt};
use plantwin_model::{Clock as _, Timestamp};

use super::{keys, read};
use crate::{
    cli::{CanIArgs, ReadArgs},
    control::{
        self,
        wire::{Ask, Question, Say},
    },
    exit::{Code, Failure, OrExit as _},
};

const DAY: i64 = 24 * 3_600_000;

pub(crate) fn can_i(args: &CanIArgs) -> Result<Code, Failure> {
    let now = SystemClock::new(1.0).now();
    let at = args.at.map(|time| today(now, time));
    let (who, what) = (args.who.clone(), args.what.clone());
    let (action, value) = (args.action.into(), args.value);
    let explanation = if let Some(file) = &args.plant {
        let plant = read::sound(read::from_file(file, &ReadArgs::default())?)?;
        let doubt = Doubt { who, action, what, value, at: at.unwrap_or(now) };
        Policy::compile(Arc::new(plant))
            .explain(&doubt)
            .map_err(|reason| Code::Usage.failure(reason))?
    } else {
        let ask = Ask::CanI { who, action, what, value, at };
        running(args, ask)?
    };
    if args.json {
        say!("{}", serde_json::to_string(&explanation).or_exit(Code::Unavailable)?);
    } else {
        say!("{}", explanation.text);
    }
    Ok(if explanation.allowed { Code::Ok } else { Code::Auth })
}

fn running(args: &CanIArgs, ask: Ask) -> Result<Explanation, Failure> {
    let socket = control::find(args.which.attach.as_deref(), args.which.data.as_deref())?;
    let question = Question { ask, proof: keys::proof(&args.which)? };
    match serde_json::from_str(&control::answer(&socket, &question)?).or_exit(Code::Unavailable)? {
        Say::Explained { explanation } => Ok(explanation),
        Say::Error { text } => Err(Code::Usage.failure(text)),
        _ => Err(Code::Unavailable.failure("the plant gave an answer that makes no sense")),
    }
}

/// This time of the day `now` is in, UTC.
fn today(now: Timestamp, time: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().div_euclid(DAY) * DAY).plus(time)
}
