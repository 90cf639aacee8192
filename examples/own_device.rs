//! A device of one's own: an electric kettle that speaks CoAP.
//!
//! It could as well run on another machine and in another language: the plant knows its address
//! and nothing more. Here it uses the device face of an adapter, which every protocol has.
//!
//! ```text
//! cargo run --package plantwin-examples --example own_device
//! cargo run -- run examples/kettle.toml          in another terminal
//! cargo run -- command kettle1.power=2000        in a third; watch the temperature rise
//! coap-client -m get coap://127.0.0.1:5690/kettle1      any CoAP client may look as well
//! ```
//!
//! It ends with Ctrl-C.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use plantwin_adapter::{
    DeviceMessage, HostRequest, HostedDevice, Measurement, Protocol as _, Registry, SystemClock,
};
use plantwin_coap::Coap;
use plantwin_model::Clock;
use tokio::time::{MissedTickBehavior, interval};

const FILE: &str = include_str!("kettle.toml");

/// Heat that a kilogram of water takes up, J/K, and what the kettle loses, W/K.
const CAPACITY: f64 = 4186.0;
const LOSS: f64 = 3.0;
/// Temperature of the room, degrees Celsius.
const ROOM: f64 = 20.0;

#[tokio::main]
async fn main() -> Result<()> {
    // Name, points and address come from the plant file, so that both sides agree.
    let plant = plantwin_examples::plant("kettle.toml", FILE, &Registry::new().with(Coap))?;
    let device = plant.devices.first().context("the plant has no device")?;
    let path = device.paths.first().context("the device has no path")?.clone();
    let listen = path.text("addr").context("the path has no address")?.parse()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let request = HostRequest {
        listen: Some(listen),
        hub: None,
        devices: vec![HostedDevice {
            sealed: false,
            device: device.id.clone(),
            points: device.kind.points.as_slice().into(),
            path,
            period: device.period,
        }],
        clock: Arc::clone(&clock),
    };
    let mut host = Coap.host(request).await?;
    let port = host.devices.first_mut().context("the server plays no device")?;
    println!("{} answers on coap://{}/{}", device.id, host.address, device.id);

    // The order of the points in the file: temperature, power.
    let (mut temperature, mut power) = (ROOM, 0.0_f64);
    let (mut sequence, mut last) = (0, clock.now());
    let mut tick = interval(device.period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = clock.now();
                let seconds = now.since(last).as_secs_f64();
                last = now;
                temperature += seconds * (power - LOSS * (temperature - ROOM)) / CAPACITY;
                // Water boils; the model of the twin does not know that.
                temperature = temperature.min(100.0);
                sequence += 1;
                let values = [(temperature * 100.0).round() / 100.0, power];
                port.outlet.publish(&Measurement::good(now, sequence, &values)).await?;
            }
            message = port.requests.recv() => match message {
                Some(DeviceMessage::Write { point, value, reply }) => {
                    let answer = if point.index() == 1 && (0.0..=2500.0).contains(&value) {
                        power = value;
                        println!("heater at {power} W, water at {temperature:.1} degrees");
                        Ok(())
                    } else {
                        Err("the heater takes 0 to 2500 W".to_owned())
                    };
                    // Whoever asked may have gone; the heater is as it is.
                    let _ = reply.send(answer);
                }
                Some(DeviceMessage::Exchange { reply, .. }) => {
                    let _ = reply.send(Err("this kettle has no keys".to_owned()));
                }
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
