//! The arguments of `plantwin device`, as clap reads them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::cli::{LogFormat, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Make a device's keys, for a voucher of the plant's authority
    #[command(after_help = "Examples:
  plantwin authority enrol tank1 --zone field          at the plant: prints voucher and root key
  plantwin device enrol tank1 --zone field --voucher PWV1-... --root 5f2a... --dir tank1
  plantwin device enrol tank1 --zone field --voucher-file v.txt --root 5f2a... --dir tank1 \\
      --request tank1.request.json                     to be carried to the authority by hand

The keys are made here and never leave DIR/device.key, which is of mode 0600 and is not overwritten.
It prints the fingerprint that the operator compares before `plantwin authority approve`.
The root's public key is 64 hexadecimal digits: the second word of the file that `plantwin authority
init --root FILE` or `rotate --export-root FILE` wrote. Of such a file as a whole the public half
alone is read, but its secret should not come near a device. The key is checked against the voucher,
which names it.

Exit codes: 0 made, 64 there is a key already, 69 a file cannot be written, 77 the voucher is of
another authority.")]
    Enrol(EnrolArgs),
    /// Run one device of a plant file, over the protocol of its path
    #[command(after_help = "Examples:
  plantwin device run line1.toml --device tank1 --dir tank1
  plantwin device run line1.toml --device tank1 --dir tank1 --path coap --listen 0.0.0.0:5683
  plantwin device run line1.toml --device tank1 --dir tank1 --path mqtt --hub broker.lan:1883
  plantwin authority issue tank1 --gateway hall1 --out tank1.grant     at the plant, by hand
  plantwin device run line1.toml --device tank1 --dir tank1 --grant tank1.grant

The plant runs the same file with `mode = \"physical\"` and `identity = \"native\"` on that device.
The model of the device's type plays it here, in real time. It speaks in sealed envelopes only. What
becomes of its enrolment, token and session is written to stdout, a line each. A device that is not
enrolled yet waits until it is. With --grant its first session needs nobody to fetch a token; the
grant is good for five minutes and for the gateway that it names.

Exit codes: 0 stopped by --for, SIGTERM or Ctrl-C, 64 wrong usage, 69 the address or key file cannot
be used, 77 wrong passphrase, 78 the plant file, the keys and the grant do not fit.")]
    Run(RunArgs),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("invitation").required(true).args(["voucher", "voucher_file"])))]
pub(crate) struct EnrolArgs {
    /// Name of the device in the plant file
    pub(crate) device: String,
    /// Its zone
    #[arg(long)]
    pub(crate) zone: String,
    /// The voucher, as `plantwin authority enrol DEVICE --zone ZONE` printed it
    #[arg(long, value_name = "PWV1-...")]
    pub(crate) voucher: Option<String>,
    /// File with the voucher, which then shows in no list of processes
    #[arg(long, value_name = "FILE")]
    pub(crate) voucher_file: Option<PathBuf>,
    /// The authority's root public key in hexadecimal, or a file with it
    #[arg(long, value_name = "HEX|FILE")]
    pub(crate) root: String,
    /// Folder for the device's key file; made if it is not there
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Write a request for `plantwin authority enrol --request FILE` as well
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// Seal the key file with a passphrase, which is asked for
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) passphrase: bool,
    /// Seal the key file with the passphrase in this file of mode 0600
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plant file
    pub(crate) plant: PathBuf,
    /// Which device of it
    #[arg(long, value_name = "NAME")]
    pub(crate) device: String,
    /// Folder with its key file, as `plantwin device enrol` made it
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Speak on this one of its paths only: mqtt, coap, opcua
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) path: Option<String>,
    /// The broker to join, instead of the address in the plant file
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "listen")]
    pub(crate) hub: Option<String>,
    /// Where to listen, instead of the address in the plant file
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Stop after this time, e.g. 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) lasts: Option<Duration>,
    /// File of mode 0600 with the passphrase of the key file; asked for if it needs one
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A grant that was fetched by hand, as `plantwin authority issue --out FILE` wrote it
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    /// Variant to apply instead of the file's own choice
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
    /// Folder with further twin types
    #[arg(long, value_name = "DIR")]
    pub(crate) twins: Option<PathBuf>,
    /// Seed of the simulation instead of the file's
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How log lines on stderr are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}
