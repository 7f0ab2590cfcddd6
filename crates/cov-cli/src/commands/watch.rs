//! `cov watch`: follows a dispatch until it has ended. Bars in a terminal, lines elsewhere.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use cov_client::{Client, Event};
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::clock;
use crate::commands::code_of;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::output::Screen;
use crate::view::progress::{Ended, Progress};
use crate::view::short;

/// How often what is drawn is brought up to date.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// How many tasks at work are drawn, if the terminal has the lines.
const TASKS_MAX: usize = 10;

/// Lines of a terminal that are left to other things.
const LINES_LEFT: usize = 3;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Error> {
    let client = context.client(Patience::OverRestarts)?;
    let id = find::dispatch(context, &client, text).await?;
    follow(context, &client, &id).await
}

/// Follows a dispatch to its end; the exit code tells how it ended.
pub(super) async fn follow(
    context: &Context,
    client: &Client,
    id: &DispatchId,
) -> Result<Code, Error> {
    let printer = &context.printer;
    let told = |error| context.told(error);
    // Before the state is read, so that no change is missed in between.
    let mut events = client.events(Some(id));
    let first = events.next().await.map_err(told)?;
    let dispatch = client.get(id).await.map_err(told)?;
    let mut progress = Progress::of(&dispatch, clock::now());
    if let Some(first) = first {
        progress.take(&first);
    }
    let draws = !printer.is_json() && printer.screen().is_terminal && stderr().is_terminal();
    let mut bars = draws.then(|| Bars::new(printer.screen(), &dispatch.summary.name, id));
    if dispatch.summary.status == Status::NewObject {
        printer.aside("It was registered and not started yet.");
    }
    let mut tick = tokio::time::interval(DRAW_EVERY);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event.map_err(told)? else { break };
                if event == Event::Lagged {
                    progress.refresh(&client.get(id).await.map_err(told)?);
                }
                let changed = progress.take(&event).filter(|_| bars.is_none());
                if let Some(changed) = changed {
                    printer.print(&changed)?;
                }
            }
            _ = tick.tick(), if bars.is_some() => {
                if let Some(bars) = &mut bars {
                    bars.draw(&progress, printer.screen());
                }
            }
            _ = &mut interrupted => {
                drop(bars);
                printer.aside(&format!("The dispatch goes on; `cov watch {}` follows it again, `cov cancel` ends it.", short(id)));
                return Ok(Code::Interrupted);
            }
        }
    }
    drop(bars);
    let ended = Ended::of(&client.get(id).await.map_err(told)?);
    printer.print(&ended)?;
    Ok(code_of(ended.status))
}

/// What is drawn: a bar for all nodes, and a line for each task at work. Gone when it is dropped.
struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    tasks: Vec<ProgressBar>,
    task_style: ProgressStyle,
}

impl Bars {
    fn new(screen: &Screen, name: &str, id: &DispatchId) -> Self {
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
        let bar = all.add(ProgressBar::new(0).with_style(style(whole).progress_chars("━━╌")));
        bar.set_prefix(format!("{name} {}", short(id)));
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
