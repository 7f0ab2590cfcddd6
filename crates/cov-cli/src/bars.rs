//! Progress as it is drawn in a terminal: a bar for all nodes, and a line for each task at work.
//! Gone from the screen when it is dropped.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use cov_client::{Client, Dispatch, Event};
use cov_core::ids::DispatchId;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::clock;
use crate::output::{Printer, Screen};
use crate::view::progress::Progress;
use crate::view::short;

/// How often what is drawn is brought up to date.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// How many tasks at work are drawn, if the terminal has the lines.
const TASKS_MAX: usize = 10;

/// Lines of a terminal that are left to other things.
const LINES_LEFT: usize = 3;

/// Whether a person looks at both streams, and not at JSON.
pub(crate) fn are_wanted(printer: &Printer) -> bool {
    !printer.is_json() && printer.screen().is_terminal && stderr().is_terminal()
}

/// Draws a dispatch until it has ended; returns it as it is then.
///
/// # Errors
/// Whatever keeps the server from answering.
pub(crate) async fn follow(
    client: &Client,
    screen: &Screen,
    id: &DispatchId,
) -> Result<Dispatch, cov_client::Error> {
    // Before the state is read, so that no change is missed in between.
    let mut events = client.events(Some(id));
    let first = events.next().await?;
    let dispatch = client.get(id).await?;
    let mut progress = Progress::of(&dispatch, clock::now());
    if let Some(first) = first {
        progress.take(&first);
    }
    if dispatch.summary.status.is_terminal() {
        return Ok(dispatch);
    }
    let mut bars = Bars::new(screen, &dispatch.summary.name, id, &progress);
    let mut tick = tokio::time::interval(DRAW_EVERY);
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event? else { break };
                if event == Event::Lagged {
                    progress.refresh(&client.get(id).await?);
                }
                progress.take(&event);
            }
            _ = tick.tick() => bars.draw(&progress, screen),
        }
    }
    drop(bars);
    client.get(id).await
}

/// What is drawn.
struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    tasks: Vec<ProgressBar>,
    task_style: ProgressStyle,
}

impl Bars {
    fn new(screen: &Screen, name: &str, id: &DispatchId, progress: &Progress) -> Self {
        let (whole, task) = match screen.colors {
            true => {
                ("{prefix:.bold} {bar:30.green/dim} {pos}/{len}  {msg}", "  {spinner:.cyan} {msg}")
            }
            false => ("{prefix} {bar:30} {pos}/{len}  {msg}", "  {spinner} {msg}"),
        };
        let style = |template| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_error| ProgressStyle::default_bar())
        };
        let all = MultiProgress::new();
        // Complete before it is added: each change of one that was added is drawn.
        let bar = ProgressBar::hidden()
            .with_style(style(whole).progress_chars("━━╌"))
            .with_prefix(format!("{name} {}", short(id)))
            .with_position(progress.ended() as u64);
        bar.set_length(progress.all() as u64);
        let bar = all.add(bar);
        Self { all, whole: bar, tasks: Vec::new(), task_style: style(task) }
    }

    fn draw(&mut self, progress: &Progress, screen: &Screen) {
        let now = clock::now();
        self.whole.set_length(progress.all() as u64);
        self.whole.set_position(progress.ended() as u64);
        self.whole.set_message(progress.message(screen, now));
        let rows =
            terminal_size::terminal_size_of(stderr()).map_or(24, |(_, rows)| usize::from(rows.0));
        let lines = progress.running(now, rows.saturating_sub(LINES_LEFT).min(TASKS_MAX));
        while self.tasks.len() > lines.len() {
            if let Some(gone) = self.tasks.pop() {
                gone.finish_and_clear();
                self.all.remove(&gone);
            }
        }
        while self.tasks.len() < lines.len() {
            let line = ProgressBar::new_spinner().with_style(self.task_style.clone());
            self.tasks.push(self.all.add(line));
        }
        for (bar, line) in self.tasks.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
        self.whole.tick();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in &self.tasks {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
        // The terminal may be gone; then there is nothing to clear.
        self.all.clear().ok();
    }
}
