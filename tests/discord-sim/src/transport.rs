//! How payloads become frames: what a client asks for in the address that it connects to.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::ZlibEncoder};
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

/// More than deflate adds to a payload that it cannot compress, its last flush included.
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
pub(crate) struct Stream(Compress);

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

    /// The frame of a payload; `compress` is what the session asked for in its Identify.
    pub fn frame(&mut self, text: Utf8Bytes, compress: bool) -> Frame {
        match self {
            Self::Plain if compress => Frame::Binary(zlib(text.as_bytes()).into()),
            Self::Plain => Frame::Text(text),
            Self::Zlib(stream) => {
                let mut piece = Vec::new();
                stream.add(text.as_bytes(), &mut piece);
                Frame::Binary(piece.into())
            }
        }
    }
}

impl Stream {
    fn new() -> Self {
        Self(Compress::new(Compression::fast(), true))
    }

    /// Writes the stream's next piece, which holds these bytes (some) and ends with a sync flush
    /// (`00 00 FF FF`).
    pub fn add(&mut self, mut bytes: &[u8], to: &mut Vec<u8>) {
        loop {
            to.reserve(bytes.len() + GROWTH);
            let before = self.0.total_in();
            // An error only says that there was nothing to do.
            let _ = self.0.compress_vec(bytes, to, FlushCompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or_default();
            bytes = &bytes[taken..];
            if bytes.is_empty() && to.len() < to.capacity() {
                return;
            }
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
        for text in ["hello there", "hello there", &noise, &"a".repeat(500_000)] {
            let mut piece = Vec::new();
            stream.add(text.as_bytes(), &mut piece);
            assert_eq!(inflate(&mut client, &piece), text);
            lengths.push(piece.len());
        }
        assert!(lengths[1] < lengths[0], "it refers back: {lengths:?}");
    }

    #[test]
    fn addresses_say_what_is_wanted() {
        let is_compressed = |transport| matches!(transport, Transport::Zlib(_));
        let asked = |query| Transport::asked_for(query).map(is_compressed);
        assert_eq!(asked(""), Ok(false));
        assert_eq!(asked("v=10&encoding=json"), Ok(false));
        let compressed = asked("v=10&encoding=json&compress=zlib-stream");
        assert_eq!(compressed, Ok(true));
        assert_eq!(asked("v=9&encoding=json"), Err(4012));
        assert_eq!(asked("v=10&encoding=etf"), Err(4002));
        assert_eq!(asked("v=10&compress=zstd-stream"), Err(4002));
    }
}
