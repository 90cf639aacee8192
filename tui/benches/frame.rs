//! What a frame costs: a snapshot in which up to 2,000 twins changed is taken in and the list of
//! twins is drawn at 200 x 50 cells, for 30, 10,000 and 100,000 twins.
//!
//! Run it with `cargo bench -p plantwin-tui`. Absent: the terminal's own input and output.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use plantwin_tui::{App, Event, Options, Screen};
use ratatui::{buffer::Buffer, layout::Rect};

#[path = "../src/fixture.rs"]
#[expect(dead_code, reason = "the benchmark needs only a part of what the tests need")]
mod fixture;

fn frame(c: &mut Criterion) {
    for twins in [30, 10_000, 100_000] {
        let before = Arc::new(fixture::normal(twins));
        let mut after = before.as_ref().clone();
        for ix in (0..twins).step_by(twins.div_ceil(2_000)) {
            fixture::edit(&mut after, ix, |t| t.points[0].value = Some(1.0));
        }
        let after = Arc::new(after);
        let options = Options::new(Arc::new(fixture::Fixed(fixture::NOW)));
        let mut app = App::new(before.clone(), &options);
        app.update(Event::Resize(200, 50));
        app.open(Screen::Twins);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 50));

        c.bench_function(&format!("draw {twins} twins"), |b| {
            b.iter(|| black_box(app.draw(&mut buffer)));
        });
        let mut turn = false;
        c.bench_function(&format!("snapshot and draw {twins} twins"), |b| {
            b.iter_batched(
                || {
                    turn = !turn;
                    if turn { after.clone() } else { before.clone() }
                },
                |view| {
                    app.update(Event::View(view));
                    black_box(app.draw(&mut buffer))
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, frame);
criterion_main!(benches);
