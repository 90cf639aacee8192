//! Several units behind one address.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use plantwin_adapter::{LinkError, LinkEvent, Protocol};
use tokio::time::Instant;

use super::support::{PATIENCE, Script, Server, connect, context, end, frame, path, within};
use crate::{Modbus, pdu::Request};

const PERIOD: Duration = Duration::from_millis(100);
/// How long the bus is watched while units are dead.
const WINDOW: Duration = Duration::from_secs(8);

fn unit(number: i64) -> plantwin_model::PathSpec {
    path(&[("unit", number)])
}

#[tokio::test]
async fn all_units_of_an_address_share_one_connection_which_is_opened_again_after_its_end() {
    let server = Server::start(Script::default()).await;
    let modbus = Modbus::default();
    let links =
        || join_all((1..=8).map(|n| connect(&modbus, context(unit(n), server.address, PERIOD))));
    let mut all = links().await;
    for link in &mut all {
        frame(link).await;
    }
    assert_eq!(server.with(|s| s.connections), 1);
    server.hang_up();
    for link in &mut all {
        assert_eq!(end(link).await, LinkError::Closed("the other side hung up".to_owned()));
    }
    let mut all = links().await;
    for link in &mut all {
        frame(link).await;
    }
    assert_eq!(server.with(|s| s.connections), 2);

    drop(server);
    for link in &mut all {
        let error = end(link).await;
        assert!(matches!(error, LinkError::Closed(_)), "{error}");
    }
    assert!(all[0].control.exchange(vec![1]).await.is_err());
}

#[tokio::test]
async fn one_request_is_under_way_at_a_time() {
    let server = Server::start(Script::default()).await;
    server.with(|s| s.slow = (1..=4).map(|n| (n, Duration::from_millis(20))).collect());
    let modbus = Modbus::default();
    let all = (1..=4).map(|n| connect(&modbus, context(unit(n), server.address, PERIOD)));
    let mut all = join_all(all).await;
    for link in &mut all {
        for _ in 0..3 {
            frame(link).await;
        }
    }
    let times: Vec<Instant> = server.with(|s| s.asked.iter().map(|a| a.1).collect());
    // An answer that is late beyond the hold, as on a busy machine, lets the next one go.
    let apart = times.windows(2).filter(|w| w[1] - w[0] >= Duration::from_millis(19)).count();
    assert!(apart * 10 >= (times.len() - 1) * 9, "{apart} of {} waited", times.len());
}

#[tokio::test]
async fn three_dead_units_of_eight_do_not_stall_the_other_five() {
    let dead = BTreeSet::from([2, 5, 6]);
    let server = Server::start(Script::default()).await;
    let modbus = Modbus::default();
    let all = (1..=8).map(|n| connect(&modbus, context(unit(n), server.address, PERIOD)));
    let mut links = join_all(all).await;
    for link in &mut links {
        frame(link).await;
    }
    server.with(|s| s.mute.clone_from(&dead));
    let begun = Instant::now();
    let before: Vec<usize> = (1..=8).map(|n| server.reads(n)).collect();

    // Each line does what the runtime does: it hears of the end and connects again.
    let ends: Vec<AtomicUsize> = links.iter().map(|_| AtomicUsize::new(0)).collect();
    let lines = links.into_iter().zip(&ends).zip(1..).map(|((mut link, ends), number)| {
        let (modbus, address) = (&modbus, server.address);
        async move {
            loop {
                match link.events.recv().await {
                    Some(LinkEvent::Frame(_)) => continue,
                    Some(LinkEvent::Closed(LinkError::Timeout { .. })) => {
                        ends.fetch_add(1, Relaxed);
                    }
                    other => panic!("unit {number} ended with {other:?}"),
                }
                link = loop {
                    let mut context = context(unit(number), address, PERIOD);
                    context.timeout = Duration::from_secs(1);
                    if let Ok(link) = modbus.connect(context).await {
                        break link;
                    }
                };
            }
        }
    });
    let all_noticed = async {
        let noticed = || dead.iter().all(|&n| ends[usize::from(n) - 1].load(Relaxed) > 0);
        while !noticed() || begun.elapsed() < WINDOW {
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = within("every dead unit to be given up", all_noticed) => {}
        _ = join_all(lines) => panic!("lines run for ever"),
    }

    let took = begun.elapsed();
    let nominal = took.as_secs_f64() / PERIOD.as_secs_f64();
    for number in 1..=8u8 {
        let times: Vec<Instant> = server.with(|s| {
            let mine = |a: &&(u8, Instant, Request)| a.0 == number && a.1 >= begun;
            s.asked.iter().filter(mine).map(|a| a.1).collect()
        });
        let mut cycles: Vec<Duration> = times.windows(2).map(|w| w[1] - w[0]).collect();
        cycles.sort();
        let at =
            |q: f64| cycles.get((cycles.len() as f64 * q) as usize).copied().unwrap_or_default();
        let polls = server.reads(number) - before[usize::from(number) - 1];
        println!(
            "unit {number}{}: {polls} polls of {nominal:.0}, cycle p50 {:?} p99 {:?} max {:?}",
            if dead.contains(&number) { " (dead)" } else { "" },
            at(0.5),
            at(0.99),
            cycles.last().copied().unwrap_or_default(),
        );
        if dead.contains(&number) {
            assert!(polls >= 3, "unit {number} is not even tried");
        } else {
            // Half of the nominal rate would be generous on a machine that is busy; polls missed
            // while it stood still are not made up for.
            let stood = cycles.last().copied().unwrap_or_default().as_secs_f64();
            let awake = nominal - stood / PERIOD.as_secs_f64();
            assert!(polls as f64 >= awake * 0.6, "unit {number}: {polls} of {awake:.0}");
            assert!(polls as f64 <= nominal + 2.0, "unit {number} is polled too often");
        }
    }
    for (number, ends) in (1..=8u8).zip(&ends) {
        let ends = ends.load(Relaxed);
        assert_eq!(ends > 0, dead.contains(&number), "unit {number} ended {ends} times");
    }
}

#[tokio::test]
async fn a_unit_that_comes_back_is_found_and_polled_at_its_nominal_rate() {
    let server = Server::start(Script::default()).await;
    let modbus = Modbus::default();
    let mut healthy = connect(&modbus, context(unit(1), server.address, PERIOD)).await;
    let mut lost = connect(&modbus, context(unit(2), server.address, PERIOD)).await;
    server.with(|s| s.mute.insert(2));
    let work = async {
        end(&mut lost).await;
        server.with(|s| s.mute.clear());
        loop {
            if let Ok(link) = modbus.connect(context(unit(2), server.address, PERIOD)).await {
                return link;
            }
        }
    };
    let drain = async {
        loop {
            frame(&mut healthy).await;
        }
    };
    let mut found = tokio::select! {
        link = within("the unit to be found again", work) => link,
        () = drain => panic!("the healthy link ended"),
    };
    frame(&mut found).await;
    let (reads, since) = (server.reads(2), Instant::now());
    for _ in 0..20 {
        frame(&mut found).await;
    }
    let (polls, nominal) =
        (server.reads(2) - reads, since.elapsed().as_secs_f64() / PERIOD.as_secs_f64());
    println!("{polls} polls after recovery, nominal {nominal:.1}");
    assert!(polls as f64 <= nominal + 2.0, "{polls} polls, nominal {nominal}");
    assert!(since.elapsed() < PATIENCE);
    assert_eq!(server.with(|s| s.connections), 1, "the healthy unit kept the connection");
}

#[tokio::test]
async fn a_connection_on_which_nobody_answers_is_given_up_although_all_still_try() {
    let mute = (1..=6).collect();
    let server = Server::start(Script { mute, ..Script::default() }).await;
    let modbus = Modbus::default();
    // Some line is always waiting for an answer, so the connection is always in use. It stands,
    // but nothing comes back on it, as after a cable was cut.
    let lines = (1..=6).map(|n| {
        let (modbus, address) = (&modbus, server.address);
        async move {
            loop {
                let spec = path(&[("unit", n), ("timeout", 150)]);
                let refused = modbus.connect(context(spec, address, PERIOD)).await.err();
                assert!(matches!(refused, Some(LinkError::Timeout { .. })), "{refused:?}");
            }
        }
    });
    let opened_anew = async {
        while server.with(|s| s.connections) < 3 {
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = within("the connection to be opened anew", opened_anew) => {}
        _ = join_all(lines) => panic!("lines run for ever"),
    }
    // And then it is as good as any.
    server.with(|s| s.mute.clear());
    let mut link = connect(&modbus, context(unit(3), server.address, PERIOD)).await;
    frame(&mut link).await;
}

#[tokio::test]
async fn a_unit_that_costs_time_without_an_answer_of_its_own_gets_no_full_share() {
    let server = Server::start(Script::default()).await;
    // Behind unit 2 a gateway waits 30 ms in vain; unit 3 answers, but too late for its line.
    server.with(|s| {
        s.dead_behind_gateway.insert(2);
        s.slow.insert(2, Duration::from_millis(30));
        s.slow.insert(3, Duration::from_millis(150));
    });
    let modbus = Modbus::default();
    let mut healthy = connect(&modbus, context(unit(1), server.address, PERIOD)).await;
    let begun = Instant::now();
    let lines = [(2, 500), (3, 60)].map(|(n, timeout)| {
        let (modbus, address) = (&modbus, server.address);
        async move {
            loop {
                let spec = path(&[("unit", n), ("timeout", timeout)]);
                let refused = modbus.connect(context(spec, address, PERIOD)).await.err();
                assert!(matches!(refused, Some(LinkError::Timeout { .. })), "{refused:?}");
            }
        }
    });
    let frames = async {
        let (mut frames, mut stood, mut before) = (0, Duration::ZERO, begun);
        while begun.elapsed() < WINDOW / 2 {
            frame(&mut healthy).await;
            frames += 1;
            let now = Instant::now();
            stood = stood.max(now - before);
            before = now;
        }
        (frames, stood)
    };
    let (frames, stood) = tokio::select! {
        frames = frames => frames,
        _ = join_all(lines) => panic!("lines run for ever"),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let (dead, late) = (server.reads(2), server.reads(3));
    println!("{dead} and {late} requests to both in {seconds:.1} s, {frames} frames beside them");
    // A saved-up burst of ten holds, one hold a second, and the first of each.
    let most = 10.0 + seconds + 2.0 + 1.0;
    assert!((dead + late) as f64 <= most, "{dead} + {late} in {seconds:.1} s");
    assert!(dead >= 3 && late >= 3, "one of them is never asked: {dead}, {late}");
    // Polls missed while the machine stood still are not made up for.
    let awake = (seconds - stood.as_secs_f64()) / PERIOD.as_secs_f64();
    assert!(f64::from(frames) >= awake * 0.6, "{frames} frames of {awake:.0}");
}
