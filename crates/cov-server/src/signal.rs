//! SIGTERM and SIGINT. The first asks the server to stop, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that a signal ended, less the number of the signal.
const EXIT_BY_SIGNAL: i32 = 128;

/// Waits for signals. While it exists they do not end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to catch the signals.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name and number.
    pub async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
        }
    }

    /// Ends the process with the next signal, without any further step.
    pub fn exit_on_next(mut self) {
        tokio::spawn(async move {
            let (name, number) = self.next().await;
            tracing::warn!(signal = name, "second signal: the process ends at once");
            // Whoever asks twice does not want to wait; what is stored needs no farewell.
            std::process::exit(EXIT_BY_SIGNAL + number);
        });
    }
}
