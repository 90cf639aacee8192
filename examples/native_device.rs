//! A device of one's own that holds keys: a kiln that proves who it is and speaks sealed, over CoAP.
//!
//! The protocol carries envelopes and knows nothing of them; [`NativeDevice`] does the rest. Over
//! MQTT or OPC UA only the adapter is another one.
//!
//! ```text
//! plantwin authority init kiln.data --root kiln.root
//! plantwin run examples/kiln.toml --data kiln.data                     and in another terminal:
//! plantwin authority enrol kiln1 --zone hall --data kiln.data          prints a voucher
//! plantwin device enrol kiln1 --zone hall --voucher PWV1-... --root kiln.root --dir kiln1
//! cargo run --package plantwin-examples --example native_device -- kiln1
//! plantwin authority approve kiln1 --data kiln.data      in a third; compare the fingerprints
//! plantwin command kiln1.target=900 --data kiln.data
//! ```
//!
//! It ends with Ctrl-C.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use plantwin_adapter::{
    DeviceMessage, HostRequest, HostedDevice, Measurement, Protocol as _, Registry, SystemClock,
};
use plantwin_coap::Coap;
use plantwin_field::{KeyFile, NativeDevice};
use plantwin_model::{Clock, Delivery, PointIx};
use tokio::time::{MissedTickBehavior, interval};

const FILE: &str = include_str!("kiln.toml");

/// How fast the chamber follows its heater, 1/s.
const RATE: f64 = 0.02;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("name the folder with the device's keys")?;
    // Both sides read the same twin type: points go by their place in it.
    let plant = plantwin_examples::plant("kiln.toml", FILE, &Registry::new().with(Coap))?;
    let spec = plant.devices.first().context("the plant has no device")?;
    let path = spec.paths.first().context("the device has no path")?.clone();
    let listen = path.text("addr").context("the path has no address")?.parse()?;

    // Who it is: made once by `plantwin device enrol`, and never told to anybody.
    let mut keys = KeyFile::read(Path::new(&folder))?;
    let me = keys.open(None)?;
    println!("{} shows {}", me.device, me.keys.public().fingerprint());
    let durable = spec.delivery == Delivery::Durable;
    let mut device = NativeDevice::new(me, spec.kind.points.as_slice().into(), durable);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let request = HostRequest {
        listen: Some(listen),
        hub: None,
        devices: vec![HostedDevice {
            // The server shows no bare value and takes no bare write.
            sealed: true,
            device: spec.id.clone(),
            points: spec.kind.points.as_slice().into(),
            path,
            period: spec.period,
        }],
        clock: Arc::clone(&clock),
    };
    let mut host = Coap.host(request).await?;
    let port = host.devices.first_mut().context("the server plays no device")?;

    // The kiln itself. The order of the points in the file: temperature, target.
    let (mut temperature, mut target) = (20.0, 20.0_f64);
    let mut measure = |target: f64, seconds: f64| {
        temperature += (target - temperature) * (RATE * seconds).min(1.0);
        [temperature, target]
    };
    let (mut sequence, mut last) = (0, clock.now());
    let mut tick = interval(spec.period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = clock.now();
                let values = measure(target, now.since(last).as_secs_f64());
                last = now;
                sequence += 1;
                // Without a session there is nobody whom it could tell, but it can say so.
                let measured = Measurement::good(now, sequence, &values);
                for envelope in device.report(&measured, 0, now) {
                    port.outlet.publish_sealed(&envelope.bytes).await?;
                }
            }
            message = port.requests.recv() => match message {
                // Proofs, tokens and commands all come this way; what is opened is authentic.
                Some(DeviceMessage::Exchange { request, reply }) => {
                    let said = device.on_exchange(&request, clock.now(), |writes| {
                        // All or none of them: first look, then act.
                        let fits = |&(point, value): &(PointIx, f64)| {
                            point.index() == 1 && (20.0..=1200.0).contains(&value)
                        };
                        if !writes.iter().all(fits) {
                            return Err("the target is 20 to 1200 degrees".to_owned());
                        }
                        target = writes.last().map_or(target, |&(_, value)| value);
                        Ok(())
                    });
                    if let Some(event) = said.as_ref().ok().and_then(|said| said.event.as_ref()) {
                        println!("{event:?}");
                    }
                    if device.agent().token_expires().is_some() {
                        // It is enrolled: the voucher has done its work.
                        keys.forget_voucher()?;
                    }
                    let answer = said.map(|s| s.bytes).map_err(|e| format!("failed to {e}"));
                    // Whoever asked may have gone.
                    let _ = reply.send(answer);
                }
                Some(DeviceMessage::Write { reply, .. }) => {
                    let _ = reply.send(Err("it takes sealed requests only".to_owned()));
                }
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
