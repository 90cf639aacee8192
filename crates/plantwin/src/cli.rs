//! The command line, as clap reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use plantwin_model::{CommandKey, Role};

/// Runs a plant of supervised, sealed digital twins from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "plantwin", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  plantwin demo                          a running plant with no file at all
  plantwin new line1                     write line1.toml, a commented plant to start from
  plantwin check line1.toml              every problem at once
  plantwin run line1.toml                the console; q ends it
  plantwin run line1.toml --headless --for 30s
  plantwin status --json                 what a running plant is doing

Exit codes: 0 ok, 64 usage, 69 unavailable, 75 retry, 77 not allowed, 78 the plant file has errors.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Report every problem of a plant file at once
    #[command(after_help = "Examples:
  plantwin check plants/cstr.toml
  plantwin check plants/cstr.toml --format json | jq .
  plantwin check plants/quadruple-tank.toml --variant plus-phase

Exit codes: 0 the file is sound (there may be warnings), 78 it has errors.")]
    Check(CheckArgs),
    /// Run a plant
    #[command(after_help = "Examples:
  plantwin run plants/quadruple-tank.toml
  plantwin run plants/quadruple-tank.toml --variant plus-phase --speed 10
  plantwin run line1.toml --headless --for 30s --data /var/lib/plantwin/line1
  plantwin run line1.toml --simulate none      every device is hardware

Without a terminal, or with --headless, one line per event is written to stdout.
SIGTERM or Ctrl-C drains and saves; a second one stops at once.")]
    Run(RunArgs),
    /// Run a plant that is shipped in this program; without a name: quadruple-tank
    #[command(after_help = "Examples:
  plantwin demo
  plantwin demo mixed-line
  plantwin demo --list")]
    Demo(DemoArgs),
    /// Write a commented plant file to start from
    #[command(after_help = "Examples:
  plantwin new line1          writes line1.toml
  plantwin new line1 --stdout")]
    New(NewArgs),
    /// Show what a running plant is doing
    #[command(after_help = "Examples:
  plantwin status
  plantwin status --json | jq '.twins[] | select(.state != \"shadowed\")'
  plantwin status --data /var/lib/plantwin/line1")]
    Status(StatusArgs),
    /// Follow the values of one twin, a JSON line per change
    Tap(TapArgs),
    /// Attach the console to a running plant
    #[command(after_help = "Examples:
  plantwin tui                                    the only plant running here
  plantwin tui --attach /var/lib/plantwin/line1   by its data folder
  plantwin tui --attach unix:/run/user/1000/plantwin/line1/control.sock
  plantwin tui --pictures shots --for 30s         the screens as SVG files, no terminal needed")]
    Tui(TuiArgs),
    /// Issue a command of a device, or write one of its points
    #[command(after_help = "Examples:
  plantwin command pump1 set_voltage voltage=3.2
  plantwin command pump1.voltage=3.2
  plantwin command pump1.voltage=3.2 --key 5f2a90c1

A key names the command for good: asked again under the same key it acts no second time, and the
answer is that of the first time. Another command under the same key is refused. Without --key a
random one is made, and if the connection is lost the command is asked again under it for 10 s.
A key is remembered over a restart of the plant if the plant has a --data folder.

Exit codes: 0 the device took it, 69 it failed, or whether the device acted is unknown, 75 it
expired before it was sent, 77 it was refused.")]
    #[command(name = "command")]
    Act(CommandArgs),
    /// Acknowledge an alarm, named DEVICE.ALARM
    Ack(AckArgs),
    /// Restart a twin that was given up after too many crashes
    Restart(RestartArgs),
    /// Letters that crashed their twin twice and were set aside
    #[command(
        subcommand,
        after_help = "Examples:
  plantwin mail list
  plantwin mail show tank1 3
  plantwin mail retry tank1 3     once the cause is mended
  plantwin mail drop tank1 3"
    )]
    Mail(MailCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MailCommand {
    /// List all letters set aside, oldest first
    List(MailListArgs),
    /// Show one letter in full, and the panic it caused
    Show(LetterArgs),
    /// Hand a letter to its twin again
    Retry(LetterArgs),
    /// Forget a letter for good
    Drop(LetterArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MailListArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LetterArgs {
    /// The twin it is for
    pub(crate) twin: String,
    /// Number of the letter, as `plantwin mail list` shows it
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The plant file
    pub(crate) plant: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// What may be overridden in a plant file.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Variant to apply instead of the file's own choice
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
    /// Folder with further twin types
    #[arg(long, value_name = "DIR")]
    pub(crate) twins: Option<PathBuf>,
    /// Which devices to simulate, whatever the file says: all, none, or ids with commas
    #[arg(long, value_name = "all|none|ID,..")]
    pub(crate) simulate: Option<String>,
    /// Seed of the simulation instead of the file's
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plant file
    pub(crate) plant: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    /// No console: one line per event on stdout
    #[arg(long)]
    pub(crate) headless: bool,
    /// Stop after this time, e.g. 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasts: Option<Duration>,
    /// How fast plant time runs: 1 is real time, 10 ten times as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// Folder in which state survives: alarms, energy, last values
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Role of whoever sits at the console
    #[arg(long, value_enum, default_value_t = RoleArg::Engineer)]
    pub(crate) role: RoleArg,
    /// Console without any means to act
    #[arg(long)]
    pub(crate) readonly: bool,
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}

/// How the console looks.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LookArgs {
    /// Colours of the console
    #[arg(long, value_enum, default_value_t = ThemeArg::Default)]
    pub(crate) theme: ThemeArg,
    /// Console in plain ASCII
    #[arg(long)]
    pub(crate) ascii: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Name of the shipped plant
    #[arg(default_value = "quadruple-tank")]
    pub(crate) name: String,
    /// List the shipped plants and twin types
    #[arg(long)]
    pub(crate) list: bool,
    /// Print the plant file instead of running it
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the plant; the file is NAME.toml
    pub(crate) name: String,
    /// Print the file instead of writing it
    #[arg(long)]
    pub(crate) stdout: bool,
}

/// Which running plant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Where the plant is: its data folder, its socket, or its name
    #[arg(long, value_name = "ADDR")]
    pub(crate) attach: Option<String>,
    /// Data folder of the plant
    #[arg(long, value_name = "DIR", conflicts_with = "attach")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The twin
    pub(crate) twin: String,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasts: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct TuiArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Console without any means to act
    #[arg(long)]
    pub(crate) readonly: bool,
    /// Role of whoever sits at the console
    #[arg(long, value_enum, default_value_t = RoleArg::Operator)]
    pub(crate) role: RoleArg,
    /// Write the screens as SVG files into this folder instead of showing them
    #[arg(long, value_name = "DIR")]
    pub(crate) pictures: Option<PathBuf>,
    /// How long to watch before the pictures are drawn, e.g. 30s
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "pictures",
          default_value = "20s")]
    pub(crate) lasts: Duration,
    /// Twin whose own screen is drawn; default: one with an alarm
    #[arg(long, value_name = "TWIN", requires = "pictures")]
    pub(crate) twin: Option<String>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CommandArgs {
    /// The device, or DEVICE.POINT=VALUE to write one point
    pub(crate) device: String,
    /// Name of the command
    pub(crate) command: Option<String>,
    /// Values for its arguments
    #[arg(value_name = "POINT=VALUE")]
    pub(crate) values: Vec<String>,
    /// Names the command, so that asking again acts once: 1 to 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<CommandKey>,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// The alarm, e.g. tank1.level_high
    pub(crate) alarm: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The twin
    pub(crate) twin: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ThemeArg {
    Default,
    Mono,
    HighContrast,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    Viewer,
    Operator,
    Engineer,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Operator => Self::Operator,
            RoleArg::Engineer => Self::Engineer,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a time such as 30s, 5min or 1h".to_owned())?;
    if duration.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(duration) }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "expected a number such as 1 or 10".to_owned())?;
    if (0.01..=100.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("must be 0.01 to 100; devices talk over real sockets, which have their limits"
            .to_owned())
    }
}
