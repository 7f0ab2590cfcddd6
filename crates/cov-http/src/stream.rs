//! A connection that does not wait for ever for a client that does not read, and that answers one
//! that never stops sending. Changes no byte.

use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// A stream whose writes fail when nothing goes out for a while.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    stream: S,
    wait: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(stream: S, wait: Duration) -> Self {
        Self { stream, wait, stalled: None }
    }

    /// What a write has come to; an error if it has waited long enough.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let end = Instant::now() + self.wait;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(unshared(context, |context| stalled.as_mut().poll(context)));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Polls beyond the share of time that the runtime gives a task at once. A connection is one task:
/// who floods it uses up the share with reading, and would never get an answer, nor be cut off.
fn unshared<T>(
    context: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Unpin,
) -> Poll<T> {
    Pin::new(&mut unconstrained(poll_fn(|context| poll(context)))).poll(context)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut self.stream;
        let outcome =
            unshared(context, |context| Pin::new(&mut *stream).poll_write(context, bytes));
        self.judge(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut self.stream;
        let write =
            |context: &mut Context<'_>| Pin::new(&mut *stream).poll_write_vectored(context, parts);
        let outcome = unshared(context, write);
        self.judge(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.stream;
        let outcome = unshared(context, |context| Pin::new(&mut *stream).poll_flush(context));
        self.judge(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.stream;
        let outcome = unshared(context, |context| Pin::new(&mut *stream).poll_shutdown(context));
        self.judge(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_task_that_has_read_its_share_still_writes() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Impatient::new(ours, WAIT);
        let written = poll_fn(|context| {
            while tokio::task::coop::has_budget_remaining() {
                let mut spend = std::pin::pin!(tokio::task::coop::consume_budget());
                assert!(spend.as_mut().poll(context).is_ready());
            }
            Poll::Ready(Pin::new(&mut ours).poll_write(context, b"answer"))
        });
        assert!(matches!(written.await, Poll::Ready(Ok(6))));
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_and_who_reads_slowly_is_not() {
        let (ours, theirs) = duplex(16);
        let refused = Impatient::new(ours, WAIT).write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(theirs);

        let (ours, mut theirs) = duplex(16);
        let reading = tokio::spawn(async move {
            let mut read = 0;
            while theirs.read_u8().await.is_ok() {
                read += 1;
                tokio::time::sleep(WAIT / 2).await;
            }
            read
        });
        let mut ours = Impatient::new(ours, WAIT);
        ours.write_all(&[0; 100]).await.unwrap();
        drop(ours);
        assert_eq!(reading.await.unwrap(), 100);
    }
}
