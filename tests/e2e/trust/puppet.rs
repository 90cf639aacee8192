//! A device in the hands of the test: it has its keys and speaks CoAP as any device of its maker
//! would, tells what was written to it, and may say other values than those it vouches for.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use plantwin_adapter::{
    DeviceMessage, DevicePort, HostRequest, HostedDevice, Measurement, Protocol as _, SystemClock,
};
use plantwin_coap::Coap;
use plantwin_field::{KeyFile, NativeDevice};
use plantwin_model::{
    Clock, PlantSpec, PointIx,
    file::{Catalog, ReadOptions, read_plant},
};
use tokio::runtime::Runtime;

use super::{LEVEL, Works};

/// How often it reports.
const PERIOD: Duration = Duration::from_millis(250);
/// Forged envelopes in a period.
const BURST: usize = 40;

#[derive(Default)]
struct Strings {
    lies: AtomicBool,
    forges: AtomicBool,
    written: Mutex<Vec<(PointIx, f64)>>,
}

/// The device; gone when dropped.
pub(super) struct Puppet {
    strings: Arc<Strings>,
    _runtime: Runtime,
}

impl Puppet {
    /// Plays the device of these works with the keys of this folder.
    pub(super) fn start(works: &Works, folder: &str) -> Self {
        let strings = Arc::new(Strings::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let plant = read(&works.file);
        let key = KeyFile::read(&works.home.path().join(folder)).expect("a key file");
        let me = key.open(None).expect("an open one");
        let device = &plant.devices[0];
        let points: Arc<_> = device.kind.points.as_slice().into();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
        let path = device.paths[0].clone();
        let listen = path.text("addr").map(|addr| addr.parse().expect("an address"));
        let hosted = HostedDevice {
            device: device.id.clone(),
            points: Arc::clone(&points),
            path,
            period: PERIOD,
            sealed: true,
        };
        let request =
            HostRequest { listen, hub: None, devices: vec![hosted], clock: Arc::clone(&clock) };
        let native = NativeDevice::new(me, points, false);
        let pulled = Arc::clone(&strings);
        let mut host = runtime.block_on(Coap.host(request)).expect("a server");
        runtime.spawn(async move {
            let port = host.devices.pop().expect("one device");
            play(port, native, &*clock, &pulled).await;
            drop(host);
        });
        Self { strings, _runtime: runtime }
    }

    /// From now on it says other values than its digests are of.
    pub(super) fn lie(&self) {
        self.strings.lies.store(true, SeqCst);
    }

    /// From now on it sends a burst of envelopes that are not what was sealed, each period.
    pub(super) fn forge(&self) {
        self.strings.forges.store(true, SeqCst);
    }

    /// What was written to it so far.
    pub(super) fn written(&self) -> Vec<(PointIx, f64)> {
        self.strings.written.lock().expect("nobody panics with it").clone()
    }
}

fn read(file: &Path) -> PlantSpec {
    let text = std::fs::read_to_string(file).expect("a plant file");
    let catalog = Catalog { protocols: &[Coap.schema()], ..Catalog::default() };
    let checked = read_plant("trust.toml", &text, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

async fn play(mut port: DevicePort, mut native: NativeDevice, clock: &dyn Clock, told: &Strings) {
    let mut tick = tokio::time::interval(PERIOD);
    let mut sequence = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                sequence += 1;
                let now = clock.now();
                let mut frame = native.frame(&Measurement::good(now, sequence, &[LEVEL, 10.0]));
                if told.lies.load(SeqCst) {
                    frame.samples[0].value += 1.0;
                }
                let sealed = native.seal_frame(&frame, now);
                let mut envelope = sealed.unwrap_or_else(|_| NativeDevice::WAITING.to_vec());
                let forges = told.forges.load(SeqCst);
                if let (true, Some(last)) = (forges, envelope.last_mut()) {
                    *last ^= 1;
                }
                for _ in 0..if forges { BURST } else { 1 } {
                    // Nobody may listen.
                    let _ = port.outlet.publish_sealed(&envelope).await;
                }
            }
            message = port.requests.recv() => match message {
                Some(DeviceMessage::Exchange { request, reply }) => {
                    let said = native.on_exchange(&request, clock.now(), |writes| {
                        told.written.lock().expect("nobody panics with it").extend(writes);
                        Ok(())
                    });
                    let said = said.map(|s| s.bytes).map_err(|e| format!("failed to {e}"));
                    let _ = reply.send(said);
                }
                Some(DeviceMessage::Write { .. }) => {}
                None => return,
            },
        }
    }
}
