//! The devices: a process with a port for each, told over its input to let some of them hang.
//!
//! A device answers function 3 and refuses everything else. One that hangs keeps its port open,
//! accepts, reads and says nothing. The process is a plain server on sockets and shares no code
//! with the adapter under test. It says what it saw as a line of JSON for each `report`.
//!
//! Orders, one a line: `mark` begins a phase, `hang`, `recover`, `report`.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
    time::Instant,
};

/// Registers of a device.
pub(crate) const REGISTERS: u16 = 10;

/// Whether the device in this place is one of those that hang: three of ten, spread.
pub(crate) const fn hangs(device: usize) -> bool {
    device % 10 < 3
}

/// A phase as the devices saw it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How long it was, seconds.
    pub(crate) seconds: f64,
    /// Cycles (times between two reads of one device) of those that never hang: how many, and
    /// their median, 99th percentile and maximum in milliseconds.
    pub(crate) cycles: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Requests in each whole second.
    pub(crate) each_second: Vec<u64>,
    /// Requests to those that hang, in the whole phase.
    pub(crate) to_hung: u64,
    /// Connections that were accepted.
    pub(crate) accepted: u64,
    /// Busiest 10 ms: most requests of a second's hundredth, over the phase.
    pub(crate) densest: u64,
}

struct Fleet {
    hung: Cell<bool>,
    since: Cell<Instant>,
    last: RefCell<Vec<Option<Instant>>>,
    cycles: RefCell<Vec<Duration>>,
    requests: RefCell<Vec<Instant>>,
    to_hung: Cell<u64>,
    accepted: Cell<u64>,
}

/// Plays devices on as many ports of the loopback until the input ends.
pub(crate) fn play(devices: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async move {
        let fleet = Rc::new(Fleet {
            hung: Cell::new(false),
            since: Cell::new(Instant::now()),
            last: RefCell::new(vec![None; devices]),
            cycles: RefCell::default(),
            requests: RefCell::default(),
            to_hung: Cell::new(0),
            accepted: Cell::new(0),
        });
        let mut ports = Vec::with_capacity(devices);
        for device in 0..devices {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = TcpListener::bind(any).await.expect("a port");
            ports.push(listener.local_addr().expect("it has one").port().to_string());
            spawn_local(listen(Rc::clone(&fleet), device, listener));
        }
        println!("{}", ports.join(" "));
        let mut orders = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(order)) = orders.next_line().await {
            match order.as_str() {
                "mark" => fleet.mark(),
                "hang" => fleet.hung.set(true),
                "recover" => fleet.hung.set(false),
                "report" => {
                    let report = serde_json::to_string(&fleet.report()).expect("plain numbers");
                    println!("{report}");
                }
                other => panic!("no such order: {other}"),
            }
        }
    });
}

async fn listen(fleet: Rc<Fleet>, device: usize, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        fleet.accepted.set(fleet.accepted.get() + 1);
        let fleet = Rc::clone(&fleet);
        spawn_local(async move {
            // It ends when the client hangs up.
            let _ = serve(&fleet, device, stream).await;
        });
    }
}

async fn serve(fleet: &Fleet, device: usize, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut header = [0; 7];
    let mut pdu = [0; 253];
    loop {
        // MBAP: transaction, protocol, length of what follows, unit.
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let Some(pdu) = length.checked_sub(1).and_then(|n| pdu.get_mut(..n)) else {
            return Ok(());
        };
        stream.read_exact(pdu).await?;
        let reads = matches!(pdu, [3, _, _, 0, count] if u16::from(*count) <= REGISTERS);
        fleet.asked(device, reads);
        if hangs(device) && fleet.hung.get() {
            continue;
        }
        let answer = if reads {
            let beat = fleet.requests.borrow().len() as u16 % 1000;
            let mut answer = vec![3, pdu[4] * 2];
            (0..u16::from(pdu[4])).for_each(|n| answer.extend((beat + n).to_be_bytes()));
            answer
        } else {
            // Illegal function.
            vec![pdu.first().copied().unwrap_or(0) | 0x80, 1]
        };
        let length = (answer.len() as u16 + 1).to_be_bytes();
        let mut bytes = vec![header[0], header[1], 0, 0, length[0], length[1], header[6]];
        bytes.extend(answer);
        stream.write_all(&bytes).await?;
    }
}

impl Fleet {
    fn asked(&self, device: usize, reads: bool) {
        let now = Instant::now();
        self.requests.borrow_mut().push(now);
        if hangs(device) {
            self.to_hung.set(self.to_hung.get() + 1);
        } else if reads && let Some(last) = self.last.borrow_mut()[device].replace(now) {
            self.cycles.borrow_mut().push(now - last);
        }
    }

    fn mark(&self) {
        self.since.set(Instant::now());
        self.cycles.borrow_mut().clear();
        self.requests.borrow_mut().clear();
        self.to_hung.set(0);
        self.accepted.set(0);
    }

    fn report(&self) -> Report {
        let (since, elapsed) = (self.since.get(), self.since.get().elapsed());
        let mut cycles = self.cycles.borrow().clone();
        cycles.sort_unstable();
        let rank = |share: f64| {
            let place = (cycles.len().saturating_sub(1) as f64 * share).round() as usize;
            cycles.get(place).map_or(f64::NAN, |c| c.as_secs_f64() * 1e3)
        };
        let mut hundredths = vec![0_u64; elapsed.as_secs() as usize * 100];
        for at in self.requests.borrow().iter() {
            let place = (*at - since).as_millis() / 10;
            if let Some(count) = hundredths.get_mut(place as usize) {
                *count += 1;
            }
        }
        Report {
            seconds: elapsed.as_secs_f64(),
            cycles: cycles.len(),
            p50: rank(0.5),
            p99: rank(0.99),
            max: rank(1.0),
            each_second: hundredths.chunks(100).map(|second| second.iter().sum()).collect(),
            to_hung: self.to_hung.get(),
            accepted: self.accepted.get(),
            densest: hundredths.iter().copied().max().unwrap_or(0),
        }
    }
}
