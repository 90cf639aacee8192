//! The authority as a process of its own: devices are believed, refused and confined by its word.

use plantwin_tests::{Peer, command as plantwin, free_port, wait_until};

use super::{VALVE, Works, check_command, evidence, file, is_sealed, join, served, wait_sealed};

/// Works whose authority is elsewhere, and that process.
fn works() -> (Works, Peer) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let file = file(home.path(), &served("coap"));
    let mut works = Works { home, file, away: None };
    works.done(&["authority", "init", "auth", "--root", "hall.root"]);
    let admit = |words: &[&str]| {
        works.done(&[&["authority", "enrol", "--data", "auth"], words].concat());
    };
    admit(&["--gateway", "hall1", "--out", "hall1.credential"]);
    admit(&["--person", "ruth", "--role", "security", "--out", "ruth.credential"]);
    let address = format!("127.0.0.1:{}", free_port());
    let service = serve(&works, &address);
    let reach = |credential: &str| {
        let words = ["--authority", &address, "--authority-key", credential];
        words.map(str::to_owned).to_vec()
    };
    works.away = Some([reach("hall1.credential"), reach("ruth.credential")]);
    (works, service)
}

fn serve(works: &Works, address: &str) -> Peer {
    let mut command = plantwin(works.home.path());
    command.args(["authority", "serve", "--data", "auth", "--listen", address]);
    let service = Peer::spawn(command);
    wait_until("the authority to serve", || service.printed("serving authority on"));
    service
}

#[test]
fn a_device_is_believed_by_the_word_of_an_authority_elsewhere_and_confined_by_it() {
    let (works, _service) = works();
    let (plant, device) = join(&works, &works.invite());
    check_command(&plant, VALVE);
    works.authority(&["revoke", "rig", "--reason", "stolen"]);
    wait_until(&format!("to be told; device:\n{}", device.lines().join("\n")), || {
        let status = plant.status();
        plantwin_tests::twin(&status, "rig").is_some_and(|t| !is_sealed(t))
    });
    works.wait_quarantined(&plant, "revoked");
}

#[test]
fn what_runs_goes_on_while_the_authority_is_away_and_another_key_is_refused_by_its_word() {
    let (works, mut service) = works();
    let voucher = works.invite();
    let (plant, mut device) = join(&works, &voucher);
    service.kill();
    check_command(&plant, VALVE);
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));

    let address = works.away.as_ref().expect("it is away")[0][1].clone();
    let _service = serve(&works, &address);
    let copy = evidence::impostor(&works, &voucher);
    wait_until(&format!("another key to be refused; log:\n{}", plant.log()), || {
        evidence::refusals(&works, "wrong_key") > 0
    });
    drop(copy);
    let device = works.device("rig");
    wait_sealed(&plant, &device);
}
