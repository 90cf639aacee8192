//! The command line, as clap reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use plantwin_model::{Action, AuditKind, CommandKey, Role};
use plantwin_seal::VerifyingKey;

use crate::commands::{authority::args::AuthorityCommand, device::args::DeviceCommand};

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
  plantwin run line1.toml --data line1.data --key-file /etc/plantwin/line1.key
  plantwin run line1.toml --simulate none      every device is hardware
  plantwin run hall1.toml --authority 192.0.2.7:7441 --authority-key hall1.credential

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
    /// Confine a device: its keys are dropped, commands to it refused, its values marked
    #[command(after_help = "Examples:
  plantwin quarantine pump1 --reason \"found open on the bench\"
  plantwin release pump1                  needs the role security")]
    Quarantine(QuarantineArgs),
    /// Let a confined device go; it must prove who it is again
    Release(ReleaseArgs),
    /// Say whether somebody may do something, and by which rule
    #[command(after_help = "Examples:
  plantwin can-i operator write tank1.valve --value 3.2
  plantwin can-i alice command pump1.trip --at 23:30
  plantwin can-i device:tank1 read field/tank2/level --plant line1.toml --json

WHO is a role (viewer, operator, engineer, security), a user of the plant file or device:NAME.
ACTION is read, write, command, ack, configure or admin. WHAT is DEVICE, DEVICE.POINT,
DEVICE.COMMAND, ZONE/DEVICE/POINT, or plant. Without --plant a running plant is asked.
Without --value, what a range allows is not judged; how often never is.

Exit codes: 0 yes, 64 no such name, 77 no.")]
    #[command(name = "can-i")]
    CanI(CanIArgs),
    /// The policy of a running plant
    #[command(subcommand)]
    Policy(PolicyCommand),
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
    /// How the key of a data folder is wrapped
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Who did or tried what: the audit trail of a data folder
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who may speak for a device: enrolment, keys, tokens
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// One device that holds keys, as a process of its own
    #[command(subcommand)]
    Device(DeviceCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that the trail is as it was written
    #[command(after_help = "Examples:
  plantwin audit verify                                  of the only plant running here
  plantwin audit verify /var/lib/plantwin/line1 --json
  plantwin audit verify line1.data --checkpoint kept.txt
  plantwin audit verify line1.data --witness /mnt/other-host/line1.checkpoints
  plantwin audit verify line1.data --identity 5ad0..     the public key it printed when it was new
  plantwin audit verify line1.data --from 5000           once what lies before is explained

No key is needed. With one, the trail's public key and the records behind the latest checkpoint
are checked as well: it is used if it is not wrapped, or if it is named. Without the key, a public
key or a checkpoint from elsewhere, the trail is checked against itself only: one that somebody
put there as a whole, with a key of its own, looks intact. A trail that somebody cut and gave an
older checkpoint, and one that somebody with the store's key wrote anew, are found by checkpoints
kept elsewhere only: see `plantwin audit checkpoint`.

Exit codes: 0 intact, 2 records are missing in the middle, 3 something was altered, 4 the trail
ends before it was promised to; the highest of 3, 4, 2 that applies, in this order. 64 wrong
usage, 69 there is no trail or it cannot be read, 77 wrong key, 78 a checkpoint that was given is
none.")]
    Verify(AuditVerifyArgs),
    /// Show the entries of the trail
    #[command(after_help = "Examples:
  plantwin audit show line1.data --last 20
  plantwin audit show --kind command,request --actor 'user:*'
  plantwin audit show line1.data --from 5000 --to 6000 --json
  plantwin audit show --follow --kind session

Numbers that are left out belong to checkpoints. It does not check the trail: `plantwin audit
verify` does.")]
    Show(AuditShowArgs),
    /// Print the latest signed checkpoint, for keeping it where nobody of this host can reach it
    #[command(after_help = "Examples:
  plantwin audit checkpoint line1.data | ssh witness 'cat >> line1.checkpoints'
  plantwin audit verify line1.data --witness line1.checkpoints")]
    Checkpoint(AuditCheckpointArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Data folder of the plant; default: that of the only plant running here
    pub(crate) data: Option<PathBuf>,
    /// Leave out what concerns only records before this one
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) from: u64,
    /// Leave out what concerns only records behind this one
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// A checkpoint that was kept elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Checkpoints that a witness collected, one after the other
    #[arg(long, value_name = "FILE")]
    pub(crate) witness: Option<PathBuf>,
    /// The trail's public key, kept elsewhere when the trail was known to be the plant's own
    #[arg(long, value_name = "HEX", value_parser = audit_identity)]
    pub(crate) identity: Option<VerifyingKey>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditShowArgs {
    /// Data folder of the plant; default: that of the only plant running here
    pub(crate) data: Option<PathBuf>,
    /// First record
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) from: u64,
    /// Last record
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// Only these kinds, with commas: system, session, enrolment, token, revocation, command,
    /// request, policy, quarantine, key, store
    #[arg(long, value_name = "KIND,..", value_delimiter = ',', value_parser = audit_kind)]
    pub(crate) kind: Vec<AuditKind>,
    /// Only what these did; * stands for anything
    #[arg(long, value_name = "GLOB")]
    pub(crate) actor: Option<String>,
    /// Only so many, the latest
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Go on with what is recorded from now on, until stopped
    #[arg(long, conflicts_with = "to")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Print a JSON line for each
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditCheckpointArgs {
    /// Data folder of the plant; default: that of the only plant running here
    pub(crate) data: Option<PathBuf>,
}

fn audit_identity(text: &str) -> Result<VerifyingKey, String> {
    plantwin_store::audit::identity_from(text)
        .ok_or_else(|| "no public key; the trail's is in its file `identity.pub`".to_owned())
}

fn audit_kind(text: &str) -> Result<AuditKind, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| "no such kind; `plantwin audit show --help` lists them".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Say how a key is wrapped; never the key
    #[command(after_help = "Examples:
  plantwin keys show /var/lib/plantwin/line1
  plantwin keys show line1.data --json")]
    Show(KeysShowArgs),
    /// Wrap a key anew; the plant may run on meanwhile
    #[command(after_help = "Examples:
  plantwin keys rewrap line1.data --to-passphrase       asks for it twice
  plantwin keys rewrap line1.data --to-file /etc/plantwin/line1.key
  plantwin keys rewrap line1.data --key-file old.key --to-file new.key
  plantwin keys rewrap line1.data --to-passphrase --new-passphrase-file pass.txt
  keyctl padd user plantwin:line1 @u < line1.key
  plantwin keys rewrap line1.data --to-keyring line1    the kernel forgets it with each boot

Nothing but the file `key` of the folder is replaced. The data key in it stays the same: whoever
had read it before reads on, and older copies of the file open with the old key.

Exit codes: 0 done, 69 the folder cannot be used, 75 somebody does the same just now, 77 wrong key;
nothing was changed then.")]
    Rewrap(KeysRewrapArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeysShowArgs {
    /// Data folder
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeysRewrapArgs {
    /// Data folder
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) from: KeyArgs,
    #[command(flatten)]
    pub(crate) to: KeyTo,
    /// File of mode 0600 with the new passphrase, instead of PLANTWIN_NEW_PASSPHRASE or asking
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_file", "to_keyring", "to_plain"])]
    pub(crate) new_passphrase_file: Option<PathBuf>,
}

/// What a key is wrapped by from now on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
#[expect(clippy::struct_field_names, reason = "they are the names of the options")]
pub(crate) struct KeyTo {
    /// A passphrase (Argon2id, 64 MiB, 3 passes)
    #[arg(long)]
    pub(crate) to_passphrase: bool,
    /// A file outside the folder, of mode 0600; made with random bytes if it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) to_file: Option<PathBuf>,
    /// The key `plantwin:NAME` of the kernel's keyring, which must be there
    #[arg(long, value_name = "NAME")]
    pub(crate) to_keyring: Option<String>,
    /// Nothing: whoever can read the folder can read the key
    #[arg(long)]
    pub(crate) to_plain: bool,
}

/// What unlocks the key of a data folder.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct KeyArgs {
    /// File of mode 0600 that the key of the data folder is wrapped by; made for a new folder
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// File of mode 0600 with the passphrase; else PLANTWIN_PASSPHRASE, or it is asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Name of the key in the kernel's keyring, there as `plantwin:NAME`
    #[arg(long, value_name = "NAME")]
    pub(crate) keyring: Option<String>,
}

impl KeyArgs {
    /// Whether any is given.
    pub(crate) fn any(&self) -> bool {
        self.key_file.is_some() || self.passphrase_file.is_some() || self.keyring.is_some()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Take the policy, users and conduits of the plant's file anew, in one step
    #[command(after_help = "Examples:
  plantwin policy reload
  plantwin policy reload --attach line1 --as alice

A file with errors is refused whole. What else changed in the file is named and not taken.
Needs a grant for admin on everything; the built-in policy has one for the role security.

Exit codes: 0 taken, 69 not reached, 77 not allowed, 78 the file is refused.")]
    Reload(PolicyReloadArgs),
    /// Ask for a passphrase and print its hash, for [policy.user.NAME]
    #[command(after_help = "Examples:
  plantwin policy passphrase
  plantwin policy passphrase --file pass.txt")]
    Passphrase(PolicyPassphraseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyReloadArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyPassphraseArgs {
    /// File of mode 0600 with the passphrase, instead of asking
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CanIArgs {
    /// Role, user, or device:NAME
    pub(crate) who: String,
    /// What they would do
    #[arg(value_enum)]
    pub(crate) action: ActionArg,
    /// To what
    pub(crate) what: String,
    /// Plant file to ask instead of a running plant
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attach", "data", "user"])]
    pub(crate) plant: Option<PathBuf>,
    /// Value that would be written, in the unit of the point
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) value: Option<f64>,
    /// Time of the day, UTC, instead of now
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    pub(crate) at: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ActionArg {
    Read,
    Write,
    Command,
    Ack,
    Configure,
    Admin,
}

impl From<ActionArg> for Action {
    fn from(action: ActionArg) -> Self {
        match action {
            ActionArg::Read => Self::Read,
            ActionArg::Write => Self::Write,
            ActionArg::Command => Self::Command,
            ActionArg::Ack => Self::Ack,
            ActionArg::Configure => Self::Configure,
            ActionArg::Admin => Self::Admin,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    /// The twin
    pub(crate) twin: String,
    /// Why, for people and the audit
    #[arg(long, default_value = "asked for by hand")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The twin
    pub(crate) twin: String,
    #[command(flatten)]
    pub(crate) which: Which,
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
#[derive(Clone, Debug, Default, Args)]
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
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The security authority, if it is a process of its own (`plantwin authority serve`)
    #[arg(long, value_name = "HOST:PORT", requires = "authority_key")]
    pub(crate) authority: Option<String>,
    /// Credential of this gateway, as `plantwin authority enrol --gateway NAME --out FILE` wrote it
    #[arg(long, value_name = "FILE", requires = "authority")]
    pub(crate) authority_key: Option<PathBuf>,
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
    /// Be this user of the plant's policy, by passphrase: from PLANTWIN_USER_PASSPHRASE, or asked for
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// File of mode 0600 with that passphrase
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) as_passphrase_file: Option<PathBuf>,
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
    Security,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Operator => Self::Operator,
            RoleArg::Engineer => Self::Engineer,
            RoleArg::Security => Self::Security,
        }
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a time such as 30s, 5min or 1h".to_owned())?;
    if duration.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(duration) }
}

/// Since midnight.
fn time_of_day(text: &str) -> Result<Duration, String> {
    let read = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then(|| Duration::from_secs((hour * 60 + minute) * 60))
    });
    read.ok_or_else(|| "expected a time of the day such as 06:30".to_owned())
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
