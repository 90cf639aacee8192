//! `plantwin tap`: a JSON line for each change of one twin.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use plantwin_adapter::SystemClock;
use plantwin_model::Clock;

use super::keys;
use crate::{
    cli::TapArgs,
    control::{
        self,
        wire::{Ask, Question},
    },
    exit::{Code, Failure, OrExit},
};

pub(crate) fn tap(args: &TapArgs) -> Result<Code, Failure> {
    let socket = control::find(args.which.attach.as_deref(), args.which.data.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let end = args.lasts.map(|d| clock.now().plus(d));
    let mut out = io::stdout().lock();
    let ask = Ask::Tap { twin: args.twin.clone() };
    let question = Question { ask, proof: keys::proof(&args.which)? };
    for line in control::ask(&socket, &question)? {
        let line = match line {
            Ok(line) => line,
            // A quiet twin sends blank lines; a socket that is quiet for this long is dead.
            Err(error) => {
                return Err(Code::Unavailable.failure(format!("the plant went silent: {error}")));
            }
        };
        if end.is_some_and(|end| clock.now() >= end) {
            return Ok(Code::Ok);
        }
        if line.is_empty() {
            continue;
        }
        if let Some(refused) = control::refusal(&line) {
            return Err(refused);
        }
        if line.starts_with(r#"{"say":"error""#) {
            let text = serde_json::from_str::<serde_json::Value>(&line)
                .ok()
                .and_then(|v| v["text"].as_str().map(ToOwned::to_owned))
                .unwrap_or(line);
            return Err(Code::Usage.failure(text));
        }
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Code::Ok),
            other => other.or_exit(Code::Unavailable)?,
        }
    }
    Err(Code::Unavailable.failure("the plant ended"))
}
