//! Pictures of a plant that only a channel holds.

use plantwin_adapter::SystemClock;
use plantwin_model::TwinView;
use serde_json::json;

use super::*;

/// A plant of two twins.
fn plant(link: LinkView) -> (watch::Sender<Arc<PlantView>>, Views) {
    let mut view = PlantView { link, ..PlantView::empty("brewery") };
    for id in ["kettle", "mash_tun"] {
        let twin = json!({
            "id": id, "zone": "hall", "type": "vessel", "simulated": true,
            "state": "shadowed", "reason": "values are current", "since": 0,
            "path": null, "session": "plain",
            "mailbox": { "depth": 0, "capacity": 256, "handled": 7, "refused": 0 },
            "energy_joules": 0.0, "budget_joules": null, "bytes": 0, "restarts": 0,
            "points": [], "revision": 1,
        });
        let twin: TwinView = serde_json::from_value(twin).expect("a twin");
        view.twins.push(Arc::new(twin));
    }
    watch::channel(Arc::new(view))
}

fn take_into(folder: &Path, link: LinkView, twin: Option<&str>) -> Result<Code, Failure> {
    let (_publish, view) = plant(link);
    let options = Options::new(Arc::new(SystemClock::new(1.0)));
    take(view, &options, folder, Duration::from_millis(1), twin)
}

#[test]
fn each_screen_becomes_a_picture_and_the_twin_asked_for_is_the_one_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("new");
    take_into(&folder, LinkView::Live, Some("mash_tun")).expect("four pictures");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a picture");
    for name in ["overview.svg", "twins.svg", "twin.svg", "alarms.svg"] {
        let svg = read(name);
        assert!(svg.starts_with("<svg ") && svg.contains("brewery"), "{name}: {svg}");
    }
    let twin = read("twin.svg");
    assert!(twin.contains("mash_tun") && !twin.contains("kettle"), "{twin}");
}

#[test]
fn without_a_name_the_first_twin_is_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    take_into(folder.path(), LinkView::Live, None).expect("four pictures");
    let twin = fs::read_to_string(folder.path().join("twin.svg")).expect("a picture");
    assert!(twin.contains("kettle") && !twin.contains("mash_tun"), "{twin}");
}

#[test]
fn an_unknown_twin_and_a_plant_out_of_reach_leave_no_picture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unknown = take_into(folder.path(), LinkView::Live, Some("oven")).expect_err("no such twin");
    assert_eq!(unknown.code, Code::Usage);
    let lost = LinkView::Lost { since: plantwin_model::Timestamp(0) };
    let away = take_into(folder.path(), lost, None).expect_err("nothing to draw");
    assert_eq!(away.code, Code::Unavailable);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
