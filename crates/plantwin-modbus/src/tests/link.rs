//! Links to a foreign server that the test plays.

use std::{collections::BTreeSet, time::Duration};

use plantwin_adapter::{LinkError, PointWrite, Protocol};
use plantwin_model::{Flaw, PointIx, Quality, SettingValue};
use tokio::time::Instant;

use super::support::{Script, Server, at, connect, context, end, frame, map, path, within};
use crate::{
    Modbus,
    link::{next_deadline, share},
    pdu::{Exception, Request, Table},
};

const PERIOD: Duration = Duration::from_millis(50);

fn write(point: u16, value: f64) -> Vec<PointWrite> {
    vec![PointWrite { point: PointIx(point), value }]
}

#[tokio::test]
async fn points_in_all_four_tables_are_read_and_written_with_the_right_functions() {
    let server = Server::start(Script::default()).await;
    let mut spec = at(path(&[("unit", 7)]), 0, 100, "input", "u16");
    spec = map(spec, 0, "scale", SettingValue::Number(0.5));
    spec = at(spec, 1, 33, "discrete", "bool");
    spec = at(spec, 2, 50, "holding", "i32");
    spec = at(spec, 3, 9, "coil", "bool");
    let modbus = Modbus::default();
    let mut link = connect(&modbus, context(spec, server.address, PERIOD)).await;
    let frame = frame(&mut link).await;
    let mut values: Vec<(u16, f64)> = frame.samples.iter().map(|s| (s.point.0, s.value)).collect();
    values.sort_by_key(|v| v.0);
    assert_eq!(values, [(0, 50.0), (1, 1.0), (2, f64::from(0x0032_0033)), (3, 1.0)]);
    assert!(frame.samples.iter().all(|s| s.quality.is_good() && s.source_time.is_none()));
    assert_eq!(frame.sequence, None);

    let both = [write(2, -2.0), write(3, 0.0)].concat();
    within("a write", link.control.write(both)).await.expect("the server takes everything");
    let writes = server.with(|s| {
        let write = |r: &Request| matches!(r, Request::Write { .. });
        s.asked.iter().map(|a| a.2.clone()).filter(write).collect::<Vec<_>>()
    });
    let one = Request::Write {
        table: Table::Holding,
        start: 50,
        values: vec![0xFFFF, 0xFFFE],
        single: false,
    };
    let two = Request::Write { table: Table::Coil, start: 9, values: vec![0], single: true };
    assert_eq!(writes, [one, two]);
    let traffic = link.traffic.snapshot();
    assert!(traffic.down_packets >= 6 && traffic.up_packets >= 6, "{traffic:?}");
}

#[tokio::test]
async fn what_a_register_cannot_hold_is_refused_before_anything_is_sent() {
    let server = Server::start(Script::default()).await;
    let spec = at(at(path(&[("unit", 1)]), 2, 40, "holding", "u16"), 3, 3, "coil", "bool");
    let modbus = Modbus::default();
    let link = connect(&modbus, context(spec, server.address, PERIOD)).await;
    let cases = [
        (write(2, 70_000.0), "voltage: failed to fit 70000 into u16"),
        (write(2, -1.0), "voltage: failed to fit -1 into u16"),
        (write(2, f64::NAN), "voltage cannot be NaN"),
        (write(3, 0.5), "split: failed to fit 0.5 into bool"),
        (write(0, 1.0), "level is read only"),
        ([write(3, 1.0), write(2, 1e9)].concat(), "voltage: failed to fit 1000000000 into u16"),
    ];
    for (writes, reason) in cases {
        let refused = within("a refusal", link.control.write(writes)).await;
        assert_eq!(refused, Err(LinkError::Refused(reason.to_owned())));
    }
    server.with(|s| assert!(!s.asked.iter().any(|a| matches!(a.2, Request::Write { .. }))));
    server.with(|s| s.refuse_writes = Some(Exception::ILLEGAL_DATA_VALUE));
    let refused = within("a refusal", link.control.write(write(2, 5.0))).await;
    assert_eq!(refused, Err(LinkError::Refused("ILLEGAL DATA VALUE".to_owned())));
    let session = within("a refusal", link.control.exchange(vec![1])).await;
    assert_eq!(session, Err(LinkError::Unsupported("a session".to_owned())));
    // A user-defined function may do anything on a foreign device.
    server.with(|s| assert!(!s.asked.iter().any(|a| matches!(a.2, Request::Native(_)))));
}

#[tokio::test]
async fn an_open_port_is_not_yet_a_device_that_is_up() {
    let server =
        Server::start(Script { mute: BTreeSet::from([1, 255]), ..Script::default() }).await;
    let context = context(path(&[("timeout", 100)]), server.address, PERIOD);
    let refused = within("a connect to fail", Modbus::default().connect(context)).await;
    let error = refused.err().expect("nothing answered");
    let endpoint = format!("{} unit 1", server.address);
    assert_eq!(error, LinkError::Timeout { endpoint, millis: 100 });
}

#[tokio::test]
async fn a_device_that_falls_silent_ends_its_link_once_after_three_polls() {
    let server = Server::start(Script::default()).await;
    let spec = path(&[("unit", 1), ("timeout", 1000)]);
    let mut link = connect(&Modbus::default(), context(spec, server.address, PERIOD)).await;
    frame(&mut link).await;
    let before = server.with(|s| {
        s.mute.insert(1);
        s.asked.len()
    });
    let error = end(&mut link).await;
    assert!(matches!(error, LinkError::Timeout { millis: 1000, .. }), "{error}");
    let unanswered = server.with(|s| s.asked.len()) - before;
    assert_eq!(unanswered, 3, "requests without an answer");
    assert_eq!(link.events.recv().await, None, "only one event tells the end");
}

#[tokio::test]
async fn a_gateway_that_speaks_for_a_dead_device_does_not_make_it_live() {
    let script = Script { refuse_reads: Some(Exception::GATEWAY_TARGET), ..Script::default() };
    let server = Server::start(script).await;
    let modbus = Modbus::default();
    let spec = path(&[("unit", 1)]);
    let refused =
        within("a connect", modbus.connect(context(spec.clone(), server.address, PERIOD))).await;
    assert!(matches!(refused.err(), Some(LinkError::Timeout { .. })));

    server.with(|s| s.refuse_reads = None);
    let mut link = connect(&modbus, context(spec, server.address, PERIOD)).await;
    server.with(|s| s.refuse_reads = Some(Exception(10)));
    assert!(matches!(end(&mut link).await, LinkError::Timeout { .. }));
}

#[tokio::test]
async fn an_exception_makes_the_points_of_its_request_bad_and_gaps_are_given_up() {
    // level at 0..2, flow at 6..8: one request with a gap; voltage far away.
    let spec = at(path(&[("unit", 1)]), 1, 6, "holding", "f32");
    let spec = at(spec, 2, 500, "holding", "f32");
    let server =
        Server::start(Script { missing: BTreeSet::from([3, 500]), ..Script::default() }).await;
    let mut link = connect(&Modbus::default(), context(spec, server.address, PERIOD)).await;
    let qualities = |frame: &plantwin_adapter::Frame| {
        let mut all: Vec<_> = frame.samples.iter().map(|s| (s.point.0, s.quality)).collect();
        all.sort_by_key(|q| q.0);
        all.into_iter().map(|q| q.1).collect::<Vec<_>>()
    };
    let (good, bad) = (Quality::Good, Quality::Bad(Flaw::DeviceReported));
    assert_eq!(qualities(&frame(&mut link).await), [bad; 4]);
    // Register 3 is in no point: asked for apart, level and flow can be read. 500 is a point's.
    assert_eq!(qualities(&frame(&mut link).await), [good, good, bad, bad]);
    server.with(|s| s.missing.clear());
    assert_eq!(qualities(&frame(&mut link).await), [good; 4]);
}

#[tokio::test]
async fn a_late_answer_is_neither_lost_nor_taken_for_another() {
    // 250 ms is longer than the bus is held and shorter than the patience.
    let server = Server::start(Script::default()).await;
    server.with(|s| s.slow.insert(1, Duration::from_millis(250)));
    let modbus = Modbus::default();
    let slow = context(path(&[("unit", 1), ("timeout", 3000)]), server.address, PERIOD);
    let fast = context(path(&[("unit", 2), ("timeout", 3000)]), server.address, PERIOD);
    let (mut slow, mut fast) = tokio::join!(connect(&modbus, slow), connect(&modbus, fast));
    for link in [&mut slow, &mut fast] {
        for _ in 0..3 {
            let frame = frame(link).await;
            assert_eq!(frame.samples[0].value, f64::from(f32::from_bits(1)), "{frame:?}");
        }
    }
    assert_eq!(server.with(|s| s.connections), 1);

    // Too late: the answers of polls given up come while others are awaited.
    server.with(|s| s.slow.insert(1, Duration::from_millis(3300)));
    server.with(|s| s.registers.insert(1, 77));
    assert!(matches!(end(&mut slow).await, LinkError::Timeout { .. }));
    for _ in 0..20 {
        frame(&mut fast).await;
    }
    let value = frame(&mut fast).await.samples[0].value;
    assert_eq!(value, f64::from(f32::from_bits(77)));
}

#[tokio::test]
async fn what_is_not_modbus_ends_the_link_with_the_reason() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let shop = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("sent");
        stream
    };
    let modbus = Modbus::default();
    let connecting = modbus.connect(context(path(&[("unit", 1)]), address, PERIOD));
    let (refused, _stream) =
        within("a connect to fail", async { tokio::join!(connecting, shop) }).await;
    let error = refused.err().expect("this is no device");
    assert_eq!(error, LinkError::Closed("what came is not modbus".to_owned()));
}

#[test]
fn deadlines_do_not_drift_and_missed_ones_are_skipped() {
    let start = Instant::now();
    let period = Duration::from_millis(100);
    let after = |ms| next_deadline(start, period, start + Duration::from_micros(ms)) - start;
    assert_eq!(after(0), period);
    assert_eq!(after(99_999), period);
    // Exactly on a deadline the next one is due, or one poll would be two.
    assert_eq!(after(100_000), period * 2);
    assert_eq!(after(103_000), period * 2);
    assert_eq!(after(1_250_000), period * 13);
}

#[test]
fn links_that_come_up_together_do_not_poll_together() {
    let start = Instant::now() + PERIOD;
    assert_eq!(next_deadline(start, PERIOD, start - PERIOD), start);
    let mut tenths = [0_u32; 10];
    for device in 0..1000 {
        // Neighbours: only the last digits of their ports differ.
        let share = share(&format!("127.0.0.1:{} unit 1", 30_000 + device));
        assert!((0.0..1.0).contains(&share));
        tenths[(share * 10.0) as usize] += 1;
    }
    // Of a fair spread each tenth gets 100, with a deviation of 9.5.
    assert!(tenths.iter().all(|&n| (60..140).contains(&n)), "{tenths:?}");
}

#[tokio::test]
async fn a_poll_that_comes_late_is_not_made_up_for() {
    let server = Server::start(Script::default()).await;
    let spec = path(&[("unit", 1)]);
    let mut link = connect(&Modbus::default(), context(spec, server.address, PERIOD)).await;
    frame(&mut link).await;
    // The device takes eight periods for one answer, then is fast again.
    server.with(|s| s.slow.insert(1, PERIOD * 8));
    let hung = server.reads(1);
    while server.reads(1) == hung {
        frame(&mut link).await;
    }
    server.with(|s| s.slow.clear());
    let (reads, since) = (server.reads(1), Instant::now());
    for _ in 0..10 {
        frame(&mut link).await;
    }
    let (polls, time) = (server.reads(1) - reads, since.elapsed());
    let nominal = time.as_secs_f64() / PERIOD.as_secs_f64();
    println!("{polls} polls in {time:?} after the outage, nominal {nominal:.1}");
    assert!(polls as f64 <= nominal + 2.0, "{polls} polls in {time:?}");
}

#[tokio::test]
async fn more_writes_than_a_unit_can_take_are_refused_and_do_not_end_its_link() {
    let server = Server::start(Script::default()).await;
    let spec = path(&[("unit", 1)]);
    let mut link = connect(&Modbus::default(), context(spec, server.address, PERIOD)).await;
    server.with(|s| s.slow.insert(1, Duration::from_millis(20)));
    let writes = (0..60).map(|n| link.control.write(write(2, f64::from(n))));
    let done = within("all writes", futures_util::future::join_all(writes)).await;
    let taken = done.iter().filter(|d| d.is_ok()).count();
    let refused = LinkError::Refused("too many requests wait for unit 1".to_owned());
    assert_eq!(done.iter().filter(|d| **d == Err(refused.clone())).count(), 60 - taken);
    assert!((32..60).contains(&taken), "{taken} of 60 were taken");
    for _ in 0..70 {
        frame(&mut link).await;
    }
}

#[tokio::test]
async fn a_device_that_hangs_up_when_asked_who_it_is_can_be_spared_the_question() {
    let server = Server::start(Script { touchy: true, ..Script::default() }).await;
    let modbus = Modbus::default();
    let spec = path(&[("unit", 1)]);
    let refused =
        within("a connect", modbus.connect(context(spec.clone(), server.address, PERIOD))).await;
    assert_eq!(refused.err(), Some(LinkError::Closed("the other side hung up".to_owned())));
    for mut spec in [spec, path(&[])] {
        spec.settings.insert("identify".to_owned(), SettingValue::Flag(false));
        let mut link = connect(&modbus, context(spec, server.address, PERIOD)).await;
        assert_eq!(frame(&mut link).await.samples.len(), 4);
    }
}
