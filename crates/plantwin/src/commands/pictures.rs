//! `plantwin tui --pictures DIR`: the screens of a console as SVG files, without a terminal.
//!
//! The console is the real one; it watches for a while first, so that its trends have something
//! to show. Absent: keys, and so everything that acts on the plant.

#[cfg(test)]
mod tests;

use std::{fs, path::Path, sync::Arc, thread, time::Duration};

use plantwin_model::{DeviceId, LinkView, PlantView};
use plantwin_tui::{App, Event, Options, Screen, to_svg};
use tokio::sync::watch;

use crate::exit::{Code, Failure, OrExit};

/// Columns and rows of a picture.
const SIZE: (u16, u16) = (112, 34);
/// As on a terminal: the longest delay of a new snapshot.
const TICK: Duration = Duration::from_millis(100);

type Views = watch::Receiver<Arc<PlantView>>;

/// Watches the plant for `lasts`, then draws each screen into `folder`.
///
/// The screen of one twin shows `twin`, or the one whose alarm stands first, or the first.
pub(crate) fn take(
    mut view: Views,
    options: &Options,
    folder: &Path,
    lasts: Duration,
    twin: Option<&str>,
) -> Result<Code, Failure> {
    let mut app = App::new(Arc::clone(&view.borrow_and_update()), options);
    app.update(Event::Resize(SIZE.0, SIZE.1));
    if let Some(twin) = twin {
        // The first snapshot is an empty one; a twin can only be selected once it is known.
        wait_for_twin(&mut view, &mut app, options, twin, lasts)?;
    }
    let end = options.clock.now().plus(lasts);
    while options.clock.now() < end {
        thread::sleep(TICK);
        follow(&mut view, &mut app, options);
    }
    let last = Arc::clone(&view.borrow());
    if last.link != LinkView::Live {
        return Err(Code::Unavailable.failure("the plant cannot be reached"));
    }
    let shown = match twin {
        Some(twin) => Some(DeviceId::from(twin)),
        None => first_of_interest(&last),
    };
    fs::create_dir_all(folder).or_exit(Code::Unavailable)?;
    for (name, screen) in [
        ("overview", Screen::Overview),
        ("twins", Screen::Twins),
        ("twin", Screen::Twin),
        ("alarms", Screen::Alarms),
    ] {
        if let (Screen::Twin, Some(shown)) = (screen, &shown) {
            app.select(shown);
        }
        app.open(screen);
        let file = folder.join(format!("{name}.svg"));
        fs::write(&file, to_svg(&app.render(SIZE.0, SIZE.1))).map_err(|e| {
            Code::Unavailable.failure(format!("cannot write {}: {e}", file.display()))
        })?;
        say!("{}", file.display());
    }
    Ok(Code::Ok)
}

fn follow(view: &mut Views, app: &mut App, options: &Options) {
    app.update(Event::Tick(options.clock.now()));
    if view.has_changed().unwrap_or(false) {
        app.update(Event::View(Arc::clone(&view.borrow_and_update())));
    }
}

fn wait_for_twin(
    view: &mut Views,
    app: &mut App,
    options: &Options,
    twin: &str,
    within: Duration,
) -> Result<(), Failure> {
    let end = options.clock.now().plus(within);
    while !view.borrow().twins.iter().any(|t| t.id.as_str() == twin) {
        if options.clock.now() >= end {
            return Err(Code::Usage.failure(format!("there is no twin {twin}")));
        }
        thread::sleep(TICK);
        follow(view, app, options);
    }
    follow(view, app, options);
    // Its trend is kept from now on.
    app.select(&twin.into());
    Ok(())
}

fn first_of_interest(view: &PlantView) -> Option<DeviceId> {
    let alarmed = view.alarms.first().map(|a| a.twin.clone());
    alarmed.or_else(|| view.twins.iter().next().map(|t| t.id.clone()))
}
