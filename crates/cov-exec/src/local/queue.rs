//! The tasks that a runner has not taken yet: a queue in the kernel, a pair of sockets that keep
//! the borders of messages. The runner takes the next task from it, and so can the server, which
//! holds that end too: what it takes back, the runner never sees. So a task is at one place only,
//! and nobody has to be asked.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// Longest message. Bytes. The runner reads with a buffer of this size, and a longer one would be
/// cut off. A frame that is longer travels in several, to a runner that has nothing else.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The server's side of a queue.
#[derive(Debug)]
pub(super) struct Queue {
    entrance: UnixStream,
    exit: OwnedFd,
}

impl Queue {
    /// An empty queue. Its exit is handed to the runner at the other end of `connection`, attached
    /// to one byte.
    ///
    /// # Errors
    /// No sockets are left.
    pub(super) fn new(connection: &UnixStream) -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (entrance, exit) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [exit.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        // The first byte on a new connection: there is room for it.
        let byte = [IoSlice::new(&[0])];
        rustix::net::sendmsg(connection, &byte, &mut ancillary, SendFlags::NOSIGNAL)?;
        let entrance = std::os::unix::net::UnixStream::from(entrance);
        entrance.set_nonblocking(true)?;
        Ok(Self { entrance: UnixStream::from_std(entrance)?, exit })
    }

    /// Puts a frame at the end. False if it does not fit now.
    ///
    /// # Errors
    /// The runner has closed its end.
    pub(super) fn try_put(&self, frame: &[u8]) -> io::Result<bool> {
        if frame.len() > MESSAGE_BYTES_MAX {
            return Ok(false);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.entrance, frame, flags) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a frame of any length in an empty queue, from which nothing may be taken back meanwhile.
    ///
    /// # Errors
    /// As [`Self::try_put`].
    pub(super) async fn put(&mut self, frame: &[u8]) -> io::Result<()> {
        for message in frame.chunks(MESSAGE_BYTES_MAX) {
            self.entrance.write_all(message).await?;
        }
        Ok(())
    }

    /// Takes back the frames that the runner has not taken, the oldest first.
    pub(super) fn take_back(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        while let Ok((length, _)) =
            rustix::net::recv(&self.exit, message.as_mut_slice(), RecvFlags::DONTWAIT)
            && length > 0
        {
            frames.push(message.get(..length).unwrap_or_default().to_vec());
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Queue::new(&ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn what_is_taken_back_is_there_no_more() {
        let (queue, _theirs) = queue();
        assert!(queue.try_put(b"one").unwrap() && queue.try_put(b"two").unwrap());
        let mut first = [0; 16];
        let (length, _) =
            rustix::net::recv(&queue.exit, &mut first[..], RecvFlags::empty()).unwrap();
        assert_eq!(&first[..length], b"one", "a message at a time");
        assert_eq!(queue.take_back(), [b"two".to_vec()]);
        assert_eq!(queue.take_back(), Vec::<Vec<u8>>::new());
    }

    #[tokio::test]
    async fn a_long_frame_is_no_message() {
        let (queue, _theirs) = queue();
        assert!(!queue.try_put(&vec![0; MESSAGE_BYTES_MAX + 1]).unwrap());
        let whole = vec![7; MESSAGE_BYTES_MAX];
        let mut put = 0;
        while queue.try_put(&whole).unwrap() {
            put += 1;
        }
        assert!(put > 0, "one fits, and some time the queue is full");
        assert_eq!(queue.take_back(), vec![whole; put]);
    }
}
