//! The plant file of the soak: many simulated devices over three protocols, some of them durable,
//! with faults of their own.
//!
//! Absent: running it.

use std::fmt::Write as _;

use crate::random::Dice;

/// Name of the plant.
pub(super) const NAME: &str = "soak";
/// Zones, over which devices are spread in turn.
const ZONES: u32 = 10;
/// The embedded broker carries 5,000 connections, and a played device takes two of them.
const MOST_MQTT: u32 = 1_500;
const MOST_OPCUA: u32 = 10;
const MOST_DURABLE: u32 = 200;

/// What the file must say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) devices: u32,
    pub(super) seed: u64,
    /// Ports of the brokers for durable devices and for the way out.
    pub(super) south: u16,
    pub(super) north: u16,
}

/// How device `number` is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Played at the foreign broker, every value counts.
    Durable,
    Mqtt,
    OpcUa,
    Coap,
}

/// The kind of a device: a tenth each is durable and MQTT within their bounds, a few are OPC UA,
/// the rest CoAP.
pub(super) fn kind(wanted: &Wanted, number: u32) -> Kind {
    let durable = (wanted.devices / 10).clamp(1, MOST_DURABLE);
    let mqtt = durable + (wanted.devices / 10).min(MOST_MQTT);
    let opcua = mqtt + (wanted.devices / 50).min(MOST_OPCUA);
    match number {
        n if n < durable => Kind::Durable,
        n if n < mqtt => Kind::Mqtt,
        n if n < opcua => Kind::OpcUa,
        _ => Kind::Coap,
    }
}

/// Seconds between two reports of a device: about a thousand reports a second in all.
pub(super) fn period_s(devices: u32) -> u32 {
    (devices / 1000).max(2)
}

/// The plant file.
pub(super) fn file(wanted: &Wanted) -> String {
    let Wanted { devices, seed, south, north } = *wanted;
    let period = period_s(devices);
    let mut text = format!(
        "[plant]\nname = \"{NAME}\"\nseed = {seed}\nstep = \"500ms\"\nperiod = \"{period}s\"\n\n\
         [northbound]\nrate = 2000\n[northbound.mqtt]\naddr = \"127.0.0.1:{north}\"\n\
         topic = \"north\"\n\n"
    );
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing into memory cannot fail.
        let _ = text.write_fmt(words);
    };
    for zone in 0..ZONES {
        line(format_args!("[zone.z{zone}]\n"));
    }
    for number in 0..devices {
        let zone = number % ZONES;
        line(format_args!("[device.d{number}]\ntype = \"rig\"\nzone = \"z{zone}\"\n"));
        match kind(wanted, number) {
            Kind::Durable => line(format_args!(
                "delivery = \"durable\"\n[device.d{number}.mqtt]\naddr = \"127.0.0.1:{south}\"\n"
            )),
            Kind::Mqtt => line(format_args!("paths = [\"mqtt\"]\n")),
            Kind::OpcUa => line(format_args!("paths = [\"opcua\"]\n")),
            Kind::Coap => line(format_args!("paths = [\"coap\"]\n")),
        }
    }
    let mut dice = Dice::new(seed);
    for fault in ["silent", "nan", "stuck", "drift"] {
        for _ in 0..5 {
            let (device, at) = (dice.below(u64::from(devices)), 60 + dice.below(240));
            let every = 300 + dice.below(600);
            let (on, rate) = match fault {
                "silent" => (format!("d{device}"), ""),
                "drift" => (format!("d{device}.level"), "rate = 0.2, "),
                _ => (format!("d{device}.level"), ""),
            };
            line(format_args!(
                "[[scenario]]\nat = \"{at}s\"\nevery = \"{every}s\"\n\
                 fault = {{ on = \"{on}\", kind = \"{fault}\", {rate}for = \"45s\" }}\n"
            ));
        }
    }
    text.push_str(
        "\n[type.rig.twin]\ntitle = \"A level that follows its setpoint\"\n\
         [type.rig.property.level]\nunit = \"1\"\nrange = [0, 100]\nstart = 50\nnoise = 0.2\n\
         [type.rig.property.valve]\nunit = \"1\"\nrange = [0, 100]\nstart = 50\naccess = \"rw\"\n\
         [type.rig.alarm.high]\nwhen = \"level > 90\"\ndeadband = 2\nresponse = \"close the valve\"\n\
         consequence = \"it overflows\"\n\
         [type.rig.model]\nstep = \"1s\"\n[type.rig.model.param]\ntau = \"60 s\"\n\
         [type.rig.model.der]\nlevel = \"(valve - level) / tau\"\n",
    );
    text
}
