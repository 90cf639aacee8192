//! Logs to stderr, or to a file while the console owns the terminal.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fs::OpenOptions,
    io::{self, IsTerminal},
    panic::PanicHookInfo,
    path::Path,
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::LogFormat;

/// Where log lines go.
pub(crate) enum Target<'a> {
    /// To stderr.
    Stderr,
    /// Appended to this file: the console owns the terminal.
    File(&'a Path),
}

/// Installs the log and a panic hook that writes to it.
///
/// A twin that panics is restarted by its guardian; the hook only records where it happened.
pub(crate) fn install(format: LogFormat, target: &Target<'_>) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("PLANTWIN_LOG").unwrap_or_else(|_| {
        // Libraries speak up only about what they cannot handle.
        EnvFilter::new("warn,plantwin=info,plantwin_runtime=info,plantwin_field=info,opcua=error,opcua_client=off,opcua_server=off,opcua_core=off,mqtt5=error")
    });
    let builder = fmt().with_env_filter(filter).with_target(false);
    let outcome = match target {
        Target::Stderr => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let builder = builder.with_writer(io::stderr).with_ansi(colour);
            match format {
                LogFormat::Text => builder.try_init(),
                LogFormat::Json => builder.json().try_init(),
            }
        }
        Target::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let builder = builder.with_writer(Mutex::new(file)).with_ansi(false);
            match format {
                LogFormat::Text => builder.try_init(),
                LogFormat::Json => builder.json().try_init(),
            }
        }
    };
    outcome.map_err(|e| io::Error::other(e.to_string()))?;
    std::panic::set_hook(Box::new(|info| {
        let line = panic_line(info);
        let trace = Backtrace::capture();
        // Only where RUST_BACKTRACE asks for it: a twin that crashes again and again would
        // otherwise drown everything else.
        if trace.status() == BacktraceStatus::Captured {
            tracing::error!("{line}\n{trace}");
        } else {
            tracing::error!("{line}");
        }
    }));
    Ok(())
}

/// Thread, place and message of a panic on one line.
fn panic_line(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let message = info.payload_as_str().unwrap_or("(a payload that is no text)");
    let message: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!(
        "thread {} panicked at {place}: {}",
        thread.name().unwrap_or("without a name"),
        message.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::panic_line;

    #[test]
    fn a_panic_is_told_on_one_line_with_thread_place_and_message() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&told);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Ok(mut lines) = lines.lock() {
                lines.push(panic_line(info));
            }
        }));
        let named = std::thread::Builder::new().name("zone-field".to_owned());
        let ended = named
            .spawn(|| panic!("first line\n  second line\n"))
            .map(std::thread::JoinHandle::join);
        std::panic::set_hook(before);
        assert!(ended.is_ok_and(|ended| ended.is_err()), "the thread panicked");
        let lines = told.lock().expect("nobody panics while holding it");
        // Other tests may panic on purpose meanwhile.
        let line = lines.iter().find(|l| l.contains("zone-field")).expect("the panic was told");
        assert!(line.starts_with("thread zone-field panicked at "), "{line}");
        assert!(line.contains("logging.rs:"), "{line}");
        assert!(line.ends_with(": first line; second line"), "{line}");
    }
}
