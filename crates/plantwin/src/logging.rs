//! Logs to stderr, or to a file while the console owns the terminal.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
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
    std::panic::set_hook(Box::new(|info| tracing::error!("panic: {info}")));
    Ok(())
}
