//! `plantwin tui`: the console, attached to a running plant.

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use plantwin_adapter::SystemClock;
use plantwin_model::Clock;
use plantwin_tui::{Options, Theme};

use super::{console, keys, pictures};
use crate::{
    cli::{LookArgs, ThemeArg, TuiArgs},
    control,
    exit::{Code, Failure, OrExit},
};

/// The console's options as the command line and the environment say.
pub(crate) fn options(look: LookArgs, clock: Arc<dyn Clock>) -> Options {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let theme = match look.theme {
        ThemeArg::Default if no_colour => Theme::Mono,
        ThemeArg::Default => Theme::Default,
        ThemeArg::Mono => Theme::Mono,
        ThemeArg::HighContrast => Theme::HighContrast,
    };
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb" || t == "linux");
    Options { theme, ascii: look.ascii || dumb, ..Options::new(clock) }
}

pub(crate) fn tui(args: &TuiArgs) -> Result<Code, Failure> {
    if args.pictures.is_none() && !std::io::stdout().is_terminal() {
        return Err(Code::Usage.failure(
            "the console needs a terminal; `plantwin status` and `plantwin tap` do without",
        ));
    }
    let socket = control::find(args.which.attach.as_deref(), args.which.data.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let proof = keys::proof(&args.which)?;
    let attached = control::attach(socket, args.role.into(), proof, Arc::clone(&clock))?;
    let options = Options {
        readonly: args.readonly,
        role: args.role.into(),
        // The attached side itself notices a silent runtime; this is the second line.
        silence: Duration::from_millis(1500),
        ..options(args.look, clock)
    };
    if let Some(folder) = &args.pictures {
        return pictures::take(
            attached.view.clone(),
            &options,
            folder,
            args.lasts,
            args.twin.as_deref(),
        );
    }
    let stop = console::stop_flag().or_exit(Code::Unavailable)?;
    let options = Options { stop, ..options };
    console::run(attached.view.clone(), Arc::clone(&attached.commands), options)?;
    Ok(Code::Ok)
}
