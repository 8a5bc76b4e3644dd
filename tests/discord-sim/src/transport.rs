//! How payloads become frames: what a client asks for in the address that it connects to.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::ZlibEncoder};
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

/// The head of a zlib stream: deflate with a window of 32 KiB, compressed fast.
const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];
/// The most that deflate adds to what it cannot compress, and to any of it.
const GROWTH: usize = 64;

/// How the payloads of one connection become frames.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Text, or compressed each for itself where the client asked for that in its Identify.
    Plain,
    /// One zlib stream, of which each binary frame is a piece.
    Zlib(Stream),
}

/// A zlib stream that is flushed after every payload.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Without zlib's head, so that it can be replaced within a stream.
    deflate: Compress,
    begun: bool,
}

impl Transport {
    /// What the query of the gateway's address asks for; refused with a close code.
    pub fn asked_for(query: &str) -> Result<Self, u16> {
        let mut transport = Self::Plain;
        for pair in query.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("v", version) if version != "10" => return Err(4012),
                ("encoding", encoding) if encoding != "json" => return Err(4002),
                ("compress", "zlib-stream") => transport = Self::Zlib(Stream::new()),
                // Only what this simulator can do is answered as asked.
                ("compress", _) => return Err(4002),
                _ => {}
            }
        }
        Ok(transport)
    }

    pub fn is_compressed(&self) -> bool {
        matches!(self, Self::Zlib(_))
    }

    /// The frame of a payload; `compress` is what the session asked for in its Identify.
    pub fn frame(&mut self, text: Utf8Bytes, compress: bool) -> Frame {
        match self {
            Self::Plain if compress => Frame::Binary(zlib(text.as_bytes()).into()),
            Self::Plain => Frame::Text(text),
            Self::Zlib(stream) => Frame::Binary(stream.piece(text.as_bytes()).into()),
        }
    }

    /// Somebody else wrote blocks into the stream: what was sent before them can no longer be
    /// referred to.
    pub fn interrupted(&mut self) {
        if let Self::Zlib(stream) = self {
            stream.deflate = raw_deflate();
        }
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            deflate: raw_deflate(),
            begun: false,
        }
    }

    fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut piece = Vec::with_capacity(bytes.len() / 2 + GROWTH);
        if !self.begun {
            self.begun = true;
            piece.extend(ZLIB_HEAD);
        }
        flush(&mut self.deflate, bytes, &mut piece);
        piece
    }
}

/// A block of a stream that can be put after any other, and refers to nothing before it.
pub(crate) fn block(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    flush(&mut raw_deflate(), bytes, &mut block);
    block
}

/// What stands before bytes of this number that are stored in a stream as they are.
pub(crate) fn stored_head(length: u16) -> [u8; 5] {
    let ([low, high], [not_low, not_high]) = (length.to_le_bytes(), (!length).to_le_bytes());
    [0, low, high, not_low, not_high]
}

fn raw_deflate() -> Compress {
    Compress::new(Compression::fast(), false)
}

/// Compresses all of it, up to a sync flush (`00 00 FF FF`).
fn flush(deflate: &mut Compress, mut bytes: &[u8], to: &mut Vec<u8>) {
    loop {
        to.reserve(bytes.len() + GROWTH);
        let before = deflate.total_in();
        // An error only says that there was nothing to do.
        let _ = deflate.compress_vec(bytes, to, FlushCompress::Sync);
        let taken = usize::try_from(deflate.total_in() - before).unwrap_or_default();
        bytes = &bytes[taken..];
        if bytes.is_empty() && to.len() < to.capacity() {
            return;
        }
    }
}

/// A zlib stream of its own.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    /// What comes out of one piece.
    fn inflate(inflate: &mut Decompress, piece: &[u8]) -> String {
        assert!(piece.ends_with(&[0, 0, 0xff, 0xff]), "flushed");
        let mut out = Vec::with_capacity(1 << 20);
        let mode = FlushDecompress::Sync;
        inflate.decompress_vec(piece, &mut out, mode).expect("zlib");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn payloads_are_pieces_of_one_stream() {
        let mut stream = Stream::new();
        let mut client = Decompress::new(true);
        let noise: String = (0..40_000_u64)
            .map(|at| char::from(b' ' + u8::try_from(crate::members::mix(at) % 90).unwrap_or(0)))
            .collect();
        let mut lengths = Vec::new();
        for text in [
            "hello there",
            "",
            "hello there",
            &noise,
            &"a".repeat(500_000),
        ] {
            let piece = stream.piece(text.as_bytes());
            assert_eq!(inflate(&mut client, &piece), text);
            lengths.push(piece.len());
        }
        assert!(lengths[2] < lengths[0], "it refers back: {lengths:?}");
    }

    #[test]
    fn blocks_of_others_can_stand_in_a_stream() {
        let mut transport = Transport::asked_for("v=10&compress=zlib-stream").expect("possible");
        let mut client = Decompress::new(true);
        let mut say = |transport: &mut Transport, text: &'static str| {
            let piece = transport.frame(text.into(), false).into_data();
            assert_eq!(inflate(&mut client, &piece), text);
            let others = [&stored_head(4)[..], b"1234", &block(b"other words")].concat();
            assert_eq!(inflate(&mut client, &others), "1234other words");
            transport.interrupted();
        };
        for text in ["hello there", "hello there", "hello again"] {
            say(&mut transport, text);
        }
    }

    #[test]
    fn addresses_say_what_is_wanted() {
        let asked = |query| Transport::asked_for(query).map(|found| found.is_compressed());
        assert_eq!(asked(""), Ok(false));
        assert_eq!(asked("v=10&encoding=json"), Ok(false));
        let compressed = asked("v=10&encoding=json&compress=zlib-stream");
        assert_eq!(compressed, Ok(true));
        assert_eq!(asked("v=9&encoding=json"), Err(4012));
        assert_eq!(asked("v=10&encoding=etf"), Err(4002));
        assert_eq!(asked("v=10&compress=zstd-stream"), Err(4002));
    }
}
