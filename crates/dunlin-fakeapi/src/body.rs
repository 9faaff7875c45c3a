//! Bodies of answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// An answer's body: a text in pieces, or lines as they come.
#[derive(Debug)]
pub struct Streamed {
    pieces: Pieces,
    /// Octets let through until it is cut, and whether the end is in order.
    cut: Option<(usize, bool)>,
}

#[derive(Debug)]
enum Pieces {
    Text(Bytes),
    Lines(mpsc::Receiver<Bytes>),
    Never,
}

/// The octets of one piece.
const PIECE: usize = 32 << 10;

impl Streamed {
    pub(crate) fn text(text: impl Into<Bytes>) -> Streamed {
        Streamed {
            pieces: Pieces::Text(text.into()),
            cut: None,
        }
    }

    pub(crate) fn lines(lines: mpsc::Receiver<Bytes>) -> Streamed {
        Streamed {
            pieces: Pieces::Lines(lines),
            cut: None,
        }
    }

    pub(crate) fn never() -> Streamed {
        Streamed {
            pieces: Pieces::Never,
            cut: None,
        }
    }

    pub(crate) fn cut(mut self, after: usize, clean: bool) -> Streamed {
        self.cut = Some((after, clean));
        self
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some((0, clean)) = self.cut {
            return Poll::Ready(match clean {
                true => None,
                false => Some(Err(io::ErrorKind::ConnectionReset.into())),
            });
        }
        let mut piece = match &mut self.pieces {
            Pieces::Never => return Poll::Pending,
            Pieces::Text(text) if text.is_empty() => return Poll::Ready(None),
            Pieces::Text(text) => text.split_to(PIECE.min(text.len())),
            Pieces::Lines(lines) => match lines.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(line)) => line,
            },
        };
        if let Some((left, _)) = &mut self.cut {
            piece.truncate(*left);
            *left -= piece.len();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
