//! `plantwin authority origin`: whether telemetry, wherever it has been, is what its devices said.
//!
//! It reads the JSON objects that leave northbound, one a line, and asks the authority, which
//! alone shares the devices' origin keys. A value without a digest proves nothing, and may have
//! lost it to whoever altered it: each is named, and the answer is not good then. Absent: telling a
//! digest that was taken away from one that never was.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use plantwin_authority::registry::{
    AuthorityOp as Op, AuthorityReply as Reply, ORIGINS_LIMIT, OriginClaim,
};
use plantwin_model::{Flaw, Quality, Timestamp};
use serde_json::Value;

use super::{args::OriginArgs, desk::Desk, nonsense};
use crate::exit::{Code, Failure, OrExit as _};

/// Most values without a digest, and most of unknown devices, that are named.
const NAMED: usize = 20;

/// A claim and the line it stands in.
struct Read {
    line: usize,
    claim: OriginClaim,
}

#[derive(Default)]
struct Counts {
    held: usize,
    altered: usize,
    unknown: usize,
    without: usize,
}

pub(super) fn origin(args: &OriginArgs) -> Result<Code, Failure> {
    let input: Box<dyn BufRead> = if args.file == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(&args.file).or_exit(Code::Unavailable)?;
        Box::new(BufReader::new(file))
    };
    let mut desk = Desk::reach(&args.place)?;
    let (mut counts, mut waiting) = (Counts::default(), Vec::new());
    for (at, line) in input.lines().enumerate() {
        let line = line.or_exit(Code::Unavailable)?;
        if line.trim().is_empty() {
            continue;
        }
        let record: Value = serde_json::from_str(&line).map_err(|error| {
            Code::Usage.failure(format!("line {}: it is no JSON object: {error}", at + 1))
        })?;
        for point in claims(&record, at + 1, &mut waiting) {
            counts.without += 1;
            if counts.without <= NAMED {
                say!("line {}: {point} bears no digest", at + 1);
            }
        }
        if waiting.len() >= ORIGINS_LIMIT {
            check(&mut desk, &mut waiting, &mut counts)?;
        }
    }
    check(&mut desk, &mut waiting, &mut counts)?;
    let Counts { held, altered, unknown, without } = counts;
    say!(
        "{held} values are what their devices said, {altered} are not, {unknown} of devices that \
         are not known here, {without} without a digest"
    );
    Ok(match (altered, unknown + without) {
        (0, 0) => Code::Ok,
        (0, _) => Code::Gap,
        _ => Code::Altered,
    })
}

fn check(desk: &mut Desk, waiting: &mut Vec<Read>, counts: &mut Counts) -> Result<(), Failure> {
    while !waiting.is_empty() {
        let some: Vec<Read> = waiting.drain(..waiting.len().min(ORIGINS_LIMIT)).collect();
        let claims = some.iter().map(|r| r.claim.clone()).collect();
        let Reply::Origins(verdicts) = desk.ask(Op::CheckOrigins { claims })? else {
            return Err(nonsense());
        };
        if verdicts.len() != some.len() {
            return Err(nonsense());
        }
        for (Read { line, claim }, verdict) in some.iter().zip(verdicts) {
            match verdict {
                Some(true) => counts.held += 1,
                Some(false) => {
                    counts.altered += 1;
                    let OriginClaim { device, point, .. } = claim;
                    say!("line {line}: {device}.{point} is not what the device said");
                }
                None => {
                    counts.unknown += 1;
                    if counts.unknown <= NAMED {
                        say!("line {line}: {} is not known here", claim.device);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The claims of a record; returns which of its values have no digest.
fn claims(record: &Value, line: usize, out: &mut Vec<Read>) -> Vec<String> {
    let device = record["device"].as_str();
    let sequence = record["device_sequence"].as_u64();
    let mut without = Vec::new();
    if !record["values"].is_object() && !record["gap"].is_object() {
        without.push("what is no record of values or of a gap".to_owned());
    }
    for (point, said) in record["values"].as_object().into_iter().flatten() {
        let claim = device.zip(sequence).and_then(|(device, sequence)| {
            Some(OriginClaim {
                device: device.into(),
                point: point.clone(),
                unit: said["u"].as_str()?.to_owned(),
                sequence,
                source_time: Timestamp(said["t_ns"].as_i64()?),
                quality: quality(said),
                value_bits: said["v"].as_f64()?.to_bits(),
                digest: said["origin"].as_str()?.parse().ok()?,
            })
        });
        match claim {
            Some(claim) => out.push(Read { line, claim }),
            None => {
                without.push(format!("{}.{point}", device.unwrap_or("a device without a name")));
            }
        }
    }
    without
}

fn quality(said: &Value) -> Quality {
    let why = said["why"].as_str().unwrap_or_default();
    let flaw = Flaw::ALL.into_iter().find(|flaw| flaw.to_string() == why);
    match (said["q"].as_str(), flaw) {
        (Some("uncertain"), Some(flaw)) => Quality::Uncertain(flaw),
        (Some("bad"), Some(flaw)) => Quality::Bad(flaw),
        _ => Quality::Good,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_with_a_digest_are_claims_and_others_are_named() {
        let record = json!({ "device": "tank1", "device_sequence": 7, "values": {
            "level": { "v": 12.4, "q": "uncertain", "why": "out of range", "t_ns": 5, "u": "cm",
                       "origin": "00112233445566778899aabbccddeeff" },
            "flow": { "v": 1.0, "q": "good", "t": 5 },
        }});
        let mut found = Vec::new();
        assert_eq!(claims(&record, 3, &mut found), ["tank1.flow"]);
        let [Read { line: 3, claim }] = &found[..] else { panic!("one claim") };
        assert_eq!((&*claim.point, claim.sequence), ("level", 7));
        assert_eq!(claim.quality, Quality::Uncertain(Flaw::OutOfRange));
        assert_eq!(f64::from_bits(claim.value_bits), 12.4);
        assert_eq!(claims(&json!([1]), 1, &mut found).len(), 1);
        assert!(claims(&json!({ "gap": { "count": 3 } }), 1, &mut found).is_empty());
    }
}
