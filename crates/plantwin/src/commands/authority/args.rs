//! The arguments of `plantwin authority`, as clap reads them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use plantwin_model::Role;

use crate::cli::{KeyArgs, LogFormat, Which};

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Make an authority whose root key lies in a file of its own
    #[command(after_help = "Examples:
  plantwin authority init line1.data --root /media/usb/line1.root
  plantwin authority init line1.data --root line1.root --root-passphrase

A plant whose authority was never made makes one itself, with the root key in the data folder;
`plantwin authority rotate --export-root FILE` takes that out later.

Exit codes: 0 made, 64 there is one already, 69 a file cannot be written, 75 the folder is in use.")]
    Init(InitArgs),
    /// Invite a device, take an offline request, or admit a gateway or a person far away
    #[command(after_help = "Examples:
  plantwin authority enrol tank1 --zone field              prints a voucher for the device
  plantwin authority enrol tank1 --zone field --valid 8h
  plantwin authority enrol --request tank1.request.json    of a device without a connection
  plantwin authority enrol --gateway hall1 --out hall1.credential
  plantwin authority enrol --person ruth --role security --out ruth.credential

A voucher is used once, by the device and in the zone it is for. Devices and offline requests need
the role engineer, gateways and people security.")]
    Enrol(EnrolArgs),
    /// Accept the key of a device that asked
    #[command(after_help = "Examples:
  plantwin authority approve tank1         shows the fingerprint and asks
  plantwin authority approve tank1 --fingerprint 7K2M-...   as the device shows it

Compare the fingerprint with what the device itself shows. Needs the role security.")]
    Approve(ApproveArgs),
    /// Send a device that asked away
    #[command(after_help = "Examples:
  plantwin authority refuse tank1 --reason 'not ours'")]
    Refuse(RefuseArgs),
    /// Make a token for a device that fetches its tokens by hand
    #[command(after_help = "Examples:
  plantwin authority issue tank1 --gateway hall1 --out tank1.grant
  plantwin authority issue tank1 --json > tank1.grant

Only the device can use it: its secret is sealed for the device's key. It ends in ten minutes.")]
    Issue(IssueArgs),
    /// Take the key of a device out of use for good, or dismiss a gateway or person
    #[command(after_help = "Examples:
  plantwin authority revoke tank1 --reason 'stolen'
  plantwin authority revoke --client hall1 --reason 'replaced'

Live sessions end within a second. The device may be enrolled again with another key.")]
    Revoke(RevokeArgs),
    /// Bring a new issuer key into use, or take the root key offline
    #[command(after_help = "Examples:
  plantwin authority rotate                               the root key lies in the data folder
  plantwin authority rotate --root /media/usb/line1.root
  plantwin authority rotate --root line1.root --no-overlap     the old issuer key was stolen
  plantwin authority rotate --export-root line1.root      and it lies in the data folder no more")]
    Rotate(RotateArgs),
    /// Show devices, who waits for approval, vouchers, gateways and keys; never a secret
    #[command(after_help = "Examples:
  plantwin authority list
  plantwin authority list --json | jq '.devices[] | select(.state == \"pending\")'")]
    List(ListArgs),
    /// Check that telemetry, wherever it has been since, is what its devices said
    #[command(after_help = "Examples:
  plantwin authority origin records.jsonl
  mosquitto_sub -t 'plant/#' -C 1000 | plantwin authority origin -

Reads the JSON objects that leave northbound, one a line. Values of native devices bear a digest
that no gateway can make; this compares it. A device that has another key since is told as altered.

Exit codes: 0 all hold, 2 some bear no digest or are of devices not known here, 3 some are not
what the device said, 64 a line is no JSON.")]
    Origin(OriginArgs),
    /// Run the authority as a process of its own, for gateways elsewhere
    #[command(after_help = "Examples:
  plantwin authority enrol --data auth.data --gateway hall1 --out hall1.credential
  plantwin authority serve --data auth.data --listen 192.0.2.7:7441
  plantwin run hall1.toml --authority 192.0.2.7:7441 --authority-key hall1.credential

While it runs it is asked with a credential: --authority 192.0.2.7:7441 --authority-key FILE.
SIGTERM or Ctrl-C ends it.")]
    Serve(ServeArgs),
}

/// Which authority.
#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The authority's service, instead of a plant or a data folder
    #[arg(long, value_name = "HOST:PORT", requires = "authority_key",
          conflicts_with_all = ["attach", "data"])]
    pub(crate) authority: Option<String>,
    /// Credential for it
    #[arg(long, value_name = "FILE", requires = "authority")]
    pub(crate) authority_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

/// How the root key's file is sealed.
#[derive(Debug, Args)]
pub(crate) struct RootPass {
    /// Seal a new root key file with a passphrase, which is asked for
    #[arg(long, conflicts_with = "root_passphrase_file")]
    pub(crate) root_passphrase: bool,
    /// File of mode 0600 with the passphrase of the root key's file
    #[arg(long, value_name = "FILE")]
    pub(crate) root_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Data folder; made if it is not there
    pub(crate) dir: PathBuf,
    /// File for the root key, which must not be there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    #[command(flatten)]
    pub(crate) pass: RootPass,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EnrolArgs {
    /// The device to invite
    #[arg(conflicts_with_all = ["request", "gateway", "person"], requires = "zone")]
    pub(crate) device: Option<String>,
    /// Its zone
    #[arg(long, requires = "device")]
    pub(crate) zone: Option<String>,
    /// How long the voucher is good for, at most 24h; default 15min
    #[arg(long, value_name = "TIME", value_parser = crate::cli::duration, requires = "device")]
    pub(crate) valid: Option<Duration>,
    /// A device's request, from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gateway", "person"])]
    pub(crate) request: Option<PathBuf>,
    /// Admit a gateway of this name
    #[arg(long, value_name = "NAME", requires = "out", conflicts_with_all = ["person", "role"])]
    pub(crate) gateway: Option<String>,
    /// Admit a person of this name
    #[arg(long, value_name = "NAME", requires_all = ["role", "out"])]
    pub(crate) person: Option<String>,
    /// What the person may do
    #[arg(long, value_enum, requires = "person")]
    pub(crate) role: Option<ClerkRole>,
    /// File for the credential
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long, requires = "device")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// The roles that mean something to an authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ClerkRole {
    Engineer,
    Security,
}

impl From<ClerkRole> for Role {
    fn from(role: ClerkRole) -> Self {
        match role {
            ClerkRole::Engineer => Self::Engineer,
            ClerkRole::Security => Self::Security,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The device
    pub(crate) device: String,
    /// Fingerprint of its key, as the device shows it
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) fingerprint: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct RefuseArgs {
    /// The device
    pub(crate) device: String,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// The device
    pub(crate) device: String,
    /// The gateway that the token is for; `plantwin` is the plant with an authority of its own
    #[arg(long, value_name = "NAME", default_value = "plantwin")]
    pub(crate) gateway: String,
    /// File for the grant
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    pub(crate) out: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The device
    #[arg(required_unless_present = "client", conflicts_with = "client")]
    pub(crate) device: Option<String>,
    /// A gateway or person to dismiss instead
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// File of the root key, if that was taken offline
    #[arg(long, value_name = "FILE", conflicts_with = "export_root")]
    pub(crate) root: Option<PathBuf>,
    /// Write the root key into this file and forget it; no issuer is changed
    #[arg(long, value_name = "FILE", conflicts_with = "no_overlap")]
    pub(crate) export_root: Option<PathBuf>,
    /// Refuse what the old issuer signed at once, instead of in 24 hours
    #[arg(long)]
    pub(crate) no_overlap: bool,
    #[command(flatten)]
    pub(crate) pass: RootPass,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct OriginArgs {
    /// File of records; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Data folder of the authority
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}
