//! Devices that are hardware, played by programs that others wrote. A plant file is switched from
//! simulated to physical by one word, and nothing else of it is touched.

use std::{fs, path::Path};

use plantwin_tests::{Peer, Plant, available, changed, free_port, wait_for, wait_until};
use serde_json::Value;

use crate::{coap_client, command, first_of, is_near, is_shadowed, point, value};

/// The one word.
const PHYSICAL: (&str, &str) = (r#"mode = "simulated""#, r#"mode = "physical""#);

/// A broker on a free port of loopback.
struct Broker {
    peer: Peer,
    port: String,
}

impl Broker {
    fn start(folder: &Path) -> Self {
        Self::start_at(folder, &free_port().to_string())
    }

    fn start_at(folder: &Path, port: &str) -> Self {
        let file = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
        fs::write(&file, text).expect("a temporary folder can be written");
        let peer = Peer::start("mosquitto", &["-v", "-c", &file.to_string_lossy()]);
        wait_until("mosquitto to listen", || {
            std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
        });
        Self { peer, port: port.to_owned() }
    }

    fn publish(&self, topic: &str, payload: &str) {
        let port = &self.port;
        let args = ["-h", "127.0.0.1", "-p", port, "-q", "1", "-t", topic, "-m", payload];
        Peer::output("mosquitto_pub", &args);
    }

    fn listen(&self, topic: &str) -> Peer {
        let port = &self.port;
        let args = ["-h", "127.0.0.1", "-p", port, "-q", "1", "-t", topic, "-F", "%t %p"];
        let peer = Peer::start("mosquitto_sub", &args);
        wait_until("the listener to be subscribed", || {
            self.peer.lines().iter().any(|l| l.contains(topic) && l.contains("(QoS 1)"))
        });
        peer
    }

    /// Publishes both values again and again until the twin shows them: a broker keeps none.
    fn publish_until(&self, plant: &Plant, level: f64, valve: f64) -> Value {
        wait_for(&format!("level {level} at the twin; log:\n{}", plant.log()), || {
            self.publish("works/rig/level", &level.to_string());
            self.publish("works/rig/valve", &valve.to_string());
            let status = plant.status();
            let rig = plantwin_tests::twin(&status, "rig")?;
            (is_shadowed(rig) && is_near(rig, "level", level, 1e-9)).then(|| rig.clone())
        })
    }
}

fn check_plain(rig: &Value, protocol: &str, port: &str) {
    assert_eq!(rig["session"]["kind"], "plain", "a device without keys is shown as such");
    assert_eq!(rig["simulated"], false);
    assert_eq!(rig["path"]["protocol"], protocol);
    let endpoint = rig["path"]["endpoint"].as_str().expect("an endpoint");
    assert!(endpoint.contains(port), "{endpoint} is not at port {port}");
    assert_eq!(point(rig, "level")["quality"], "good");
}

#[test]
fn a_physical_device_behind_a_foreign_broker_is_shadowed_and_obeys() {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = Broker::start(home.path());
    let at = format!(":{}", broker.port);
    let file = changed("foreign-mqtt", home.path(), &[(":1883", &at), PHYSICAL]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    let rig = broker.publish_until(&plant, 42.5, 10.0);
    check_plain(&rig, "mqtt", &broker.port);
    broker.publish_until(&plant, 43.25, 10.0);

    let orders = broker.listen("works/rig/valve/order");
    command(&plant, &["rig.valve=55"]);
    wait_until("the order at the broker", || orders.printed("works/rig/valve/order 55"));
    // Until the device reports it, it is desired and no more.
    let rig = plant.wait_twin("rig", "55 % desired", |t| point(t, "valve")["desired"] == 55.0);
    assert_eq!(value(&rig, "valve"), Some(10.0));
    broker.publish("works/rig/valve", "55");
    plant.wait_twin("rig", "55 % reported", |t| {
        is_near(t, "valve", 55.0, 1e-9) && point(t, "valve")["desired"].is_null()
    });

    // Nonsense on one topic spoils one point and ends nothing.
    broker.publish("works/rig/level", "a lot");
    let rig = plant.wait_twin("rig", "a bad level", |t| point(t, "level")["quality"] == "bad");
    assert_eq!(point(&rig, "level")["flaw"], "malformed");
    broker.publish_until(&plant, 44.0, 55.0);
    broker.publish("works/rig/level", "nan");
    plant.wait_alarm("rig.not-finite", |a| a["state"] == "unacknowledged");
    broker.publish_until(&plant, 45.0, 55.0);
}

#[test]
fn the_same_file_unchanged_plays_the_device_at_the_foreign_broker() {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = Broker::start(home.path());
    let at = format!(":{}", broker.port);
    let file = changed("foreign-mqtt", home.path(), &[(":1883", &at)]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    let rig = plant.wait_twin("rig", "to be up", is_shadowed);
    assert_eq!(rig["session"]["kind"], "token");
    let listener = broker.listen("works/rig/valve");
    broker.publish("works/rig/valve/order", "33");
    wait_until("the device to report 33", || listener.printed("works/rig/valve 33"));
    plant.wait_twin("rig", "33 %", |t| is_near(t, "valve", 33.0, 1e-9));
}

#[test]
fn a_physical_device_whose_broker_dies_is_down_and_recovers_with_it() {
    if !available(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut broker = Broker::start(home.path());
    let at = format!(":{}", broker.port);
    let file = changed("foreign-mqtt", home.path(), &[(":1883", &at), PHYSICAL]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    broker.publish_until(&plant, 42.5, 10.0);
    broker.peer.kill();
    plant.wait_alarm("rig.comm-loss", |a| {
        a["state"] == "unacknowledged" && a["source"] == "comm_loss"
    });
    let rig = plant.wait_twin("rig", "down", |t| t["state"] == "down");
    assert_eq!(value(&rig, "level"), Some(42.5), "the last value stays, and is marked");
    assert_eq!(point(&rig, "level")["quality"], "bad");
    assert_eq!(point(&rig, "level")["flaw"], "comm lost");
    let refused = plant.call(&["command", "rig.valve=1"]);
    assert_ne!(refused.status.code(), Some(0), "nobody is there to obey");

    let acked = plant.call(&["ack", "rig.comm-loss"]);
    assert_eq!(acked.status.code(), Some(0));
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "acknowledged");
    let broker = Broker::start_at(home.path(), &broker.port);
    broker.publish_until(&plant, 50.0, 10.0);
    plant.wait_no_alarm("rig.comm-loss");
}

#[test]
fn a_dead_device_behind_a_living_broker_has_one_alarm_that_does_not_come_and_go() {
    if !available(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = Broker::start(home.path());
    let at = format!(":{}", broker.port);
    // A link waits five periods for a word, three seconds at least.
    let quick = (r#"period = "2s""#, r#"period = "200ms""#);
    let file = changed("foreign-mqtt", home.path(), &[(":1883", &at), PHYSICAL, quick]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    broker.publish_until(&plant, 42.5, 10.0);
    let raised = plant.wait_alarm("rig.comm-loss", |a| a["state"] == "unacknowledged");
    assert!(plant.call(&["ack", "rig.comm-loss"]).status.success());
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "acknowledged");
    // Each new connection to the broker succeeds, and none brings a word of the device.
    let connected =
        || broker.peer.lines().iter().filter(|l| l.contains("New client connected")).count();
    let before = connected();
    wait_until("two more connections in vain", || {
        let alarm = plant.wait_alarm("rig.comm-loss", |_| true);
        assert_eq!(alarm["state"], "acknowledged", "{}", plant.log());
        assert_eq!(alarm["raised"], raised["raised"], "{}", plant.log());
        connected() >= before + 2
    });
    broker.publish_until(&plant, 43.0, 10.0);
    plant.wait_no_alarm("rig.comm-loss");
}

#[test]
fn a_physical_coap_server_is_observed_and_obeys_and_may_go_and_come_back() {
    let server = first_of(&["coap-server", "coap-server-notls", "coap-server-openssl"]);
    let client = coap_client();
    let (Some(server), Some(client)) = (server, client) else {
        assert!(!available(&["coap-server", "coap-client"]));
        return;
    };
    let home = tempfile::tempdir().expect("a temporary folder");
    let port = free_port().to_string();
    let start = || Peer::start(server, &["-A", "127.0.0.1", "-p", &port, "-d", "10"]);
    let put = |name: &str, v: &str| {
        let uri = format!("coap://127.0.0.1:{port}/rig/{name}");
        Peer::output(client, &["-B", "2", "-m", "put", "-e", v, &uri]);
    };
    let get = |name: &str| {
        let uri = format!("coap://127.0.0.1:{port}/rig/{name}");
        Peer::output(client, &["-B", "2", "-m", "get", &uri]).trim().to_owned()
    };
    let fill = || {
        wait_until("the server to hold both values", || {
            put("level", "31.5");
            put("valve", "10");
            get("level") == "31.5" && get("valve") == "10"
        });
    };
    let mut peer = start();
    fill();
    let at = format!(":{port}");
    let file = changed("foreign-coap", home.path(), &[(":5683", &at), PHYSICAL]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    let rig =
        plant.wait_twin("rig", "31.5 cm", |t| is_shadowed(t) && is_near(t, "level", 31.5, 1e-9));
    check_plain(&rig, "coap", &port);
    put("level", "33");
    plant.wait_twin("rig", "33 cm", |t| is_near(t, "level", 33.0, 1e-9));
    command(&plant, &["rig.valve=72"]);
    wait_until("the server to hold what was ordered", || get("valve") == "72");
    plant.wait_twin("rig", "72 %", |t| is_near(t, "valve", 72.0, 1e-9));

    peer.kill();
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "unacknowledged");
    plant.wait_twin("rig", "down", |t| t["state"] == "down");
    let peer = start();
    fill();
    plant.wait_twin("rig", "31.5 cm again", |t| is_shadowed(t) && is_near(t, "level", 31.5, 1e-9));
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "returned_unacknowledged");
    drop(peer);
}

#[test]
fn a_physical_opc_ua_server_is_subscribed_to_and_obeys() {
    if !available(&["python3", "python:asyncua"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let port = free_port().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/opcua_server.py");
    let script = script.to_string_lossy();
    let start = || {
        let peer = Peer::start("python3", &[&*script, &port]);
        wait_until("the OPC UA server", || peer.printed("ready"));
        peer
    };
    let mut peer = start();
    let at = format!(":{port}");
    let file = changed("foreign-opcua", home.path(), &[(":4840", &at), PHYSICAL]);
    let plant = Plant::run_in(&file, &home.path().join("data"), &[]);
    let first = plant.wait_twin("rig", "to be up", is_shadowed);
    check_plain(&first, "opcua", &port);
    assert_eq!(value(&first, "valve"), Some(10.0));
    let before = value(&first, "level").expect("a level");
    plant.wait_twin("rig", "a level that moves, and what the talk cost", |t| {
        value(t, "level").is_some_and(|l| (l - before).abs() >= 1.0)
            && t["energy_j"].as_f64().is_some_and(|e| e > 0.0)
    });
    command(&plant, &["rig.valve=64"]);
    wait_until("the value inside the server", || peer.printed("valve 64.0"));
    plant.wait_twin("rig", "64 %", |t| is_near(t, "valve", 64.0, 1e-9));

    peer.kill();
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "unacknowledged");
    plant.wait_twin("rig", "down", |t| t["state"] == "down");
    let _peer = start();
    plant.wait_twin("rig", "up again", |t| is_shadowed(t) && is_near(t, "valve", 10.0, 1e-9));
    plant.wait_alarm("rig.comm-loss", |a| a["state"] == "returned_unacknowledged");
}
