//! A plant inside another program: start it, watch it, act on it, stop it.
//!
//! ```text
//! cargo run --package plantwin-examples --example embed
//! ```
//!
//! The two simulated devices are served over real sockets (MQTT and CoAP) on the loopback, as
//! they would be under `plantwin run`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use plantwin_adapter::Registry;
use plantwin_coap::Coap;
use plantwin_model::{Outcome, PlantView, Request, Role, TwinState};
use plantwin_mqtt::Mqtt;
use plantwin_runtime::{AuthorityAt, KeySource, RunRequest, RunningPlant};

const FILE: &str = include_str!("embed.toml");
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    // One explicit line per protocol; an own adapter is one line more.
    let registry = Registry::new().with(Mqtt).with(Coap);
    let plant = plantwin_examples::plant("embed.toml", FILE, &registry)?;
    let (data, key) = (None, KeySource::Plain);
    let running = RunningPlant::start(RunRequest {
        plant,
        registry,
        data,
        key,
        speed: 1.0,
        authority: AuthorityAt::Here,
    })?;

    // The view is a watch channel: the newest snapshot is always at hand, none is ever awaited
    // by the plant. A runtime of one's own choice waits for changes.
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    waiting.block_on(until(&running, "both twins shadow their devices", |view| {
        view.twins.iter().all(|t| t.state == TwinState::Shadowed)
    }))?;
    let before =
        value(&running.view.borrow(), "tank1", "level").context("the tank has no level")?;
    println!("level {before:.3} cm");

    // A request goes the whole road: router, twin, session, wire, device, and back.
    let desk = running.commands(Role::Operator);
    let write = Request::Write { device: "pump1".into(), point: "voltage".to_owned(), value: 6.0 };
    match desk.send(write).recv_timeout(PATIENCE)? {
        Outcome::Done => println!("the pump runs at 6 V"),
        other => bail!("the pump: {other:?}"),
    }
    waiting.block_on(until(&running, "the level has risen by 1 cm", |view| {
        value(view, "tank1", "level").is_some_and(|level| level > before + 1.0)
    }))?;
    let after = value(&running.view.borrow(), "tank1", "level").context("the tank has no level")?;
    println!("level {after:.3} cm");

    let unsaved = running.stop().unsaved;
    println!("stopped, {unsaved} twins did not save in time");
    Ok(())
}

/// Waits for a snapshot of the kind wanted.
async fn until(
    running: &RunningPlant,
    what: &str,
    wanted: impl Fn(&PlantView) -> bool,
) -> Result<()> {
    let mut view = running.view.clone();
    let seen = view.wait_for(|view| wanted(view));
    tokio::time::timeout(PATIENCE, seen).await.with_context(|| format!("waited for: {what}"))??;
    println!("{what}");
    Ok(())
}

/// A point's value by the names of twin and point.
fn value(view: &PlantView, twin: &str, point: &str) -> Option<f64> {
    let twin = view.twins.iter().find(|t| t.id.as_str() == twin)?;
    let ix = view.types.get(&twin.kind)?.points.iter().position(|p| p.name == point)?;
    twin.points.get(ix)?.value
}
