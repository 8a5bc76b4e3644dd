//! Very many messages, as fast as the socket takes them.
//!
//! One frame is rendered once. From then on only its sequence number, message
//! id, author id and content are overwritten in place, and whole batches of frames are
//! written to the socket at once. Where the transport is compressed, each goes through the
//! connection's stream before.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::{Id, timestamp};
use crate::members;
use crate::message::message_object;
use crate::objects::{self, partial_member, text};
use crate::state::State;
use crate::transport::Transport;

/// Frames in a batch.
const BATCH: u64 = 256;
/// The first byte of a whole frame that is text, and of one that is not.
const TEXT_FRAME: u8 = 0x81;
const BINARY_FRAME: u8 = 0x82;
/// What stands where the content will. With it a frame has the length of a usual message's, about
/// 1,070 bytes.
const CONTENT: &str = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod \
    tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim veniam.";
/// What stands in a frame until it is overwritten: as wide as an id of 18 or 19
/// digits, and as a sequence number padded with spaces, can be.
const SEQ_MARK: &str = "888888888888";
const ID_MARK: &str = "1777777777777777777";
const AUTHOR_MARK: &str = "166666666666666666";

/// What a flood was.
#[derive(Debug, Clone, Copy)]
pub struct FloodReport {
    /// How many messages were written.
    pub messages: u64,
    /// How long writing them took, from the first byte to the last.
    pub took: Duration,
    /// The first message's id; the others follow without a gap.
    pub first_id: Id,
}

/// What contents are made of, so that each is new to a compressed stream, as people's are.
const LETTERS: &[u8; 32] = b"etaoinshrdlcumwfgypbvkxjqz      ";

/// A flood on its way through one connection.
#[derive(Debug)]
pub(crate) struct Flood {
    batch: Vec<u8>,
    /// The same, as a compressed transport has it.
    compressed: Vec<u8>,
    /// Where in a frame what is overwritten stands.
    seq_at: usize,
    id_at: usize,
    author_at: usize,
    content_at: usize,
    /// The bytes of a frame, and how many of them come before its payload.
    frame: usize,
    head: usize,
    next_id: Id,
    left: u64,
    authors: Vec<Id>,
    next_author: usize,
    started: Option<Instant>,
    report: FloodReport,
    done: Option<oneshot::Sender<FloodReport>>,
}

impl State {
    /// Renders a flood: messages of the first `users` generated members.
    pub(crate) fn prepare_flood(
        &mut self,
        channel: Id,
        messages: u64,
        users: u32,
        done: oneshot::Sender<FloodReport>,
    ) -> Flood {
        let first_id = self.clock.snowflakes(messages);
        let author = members::id_of(0);
        let user = self
            .user(author)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        let mut json = message_object(first_id, channel, &user, "");
        json["id"] = ID_MARK.into();
        json["author"]["id"] = AUTHOR_MARK.into();
        // No picture: what a client makes of a name is measured, and not what of an image.
        json["author"]["avatar"] = serde_json::Value::Null;
        json["timestamp"] = timestamp(self.clock.now_ms()).into();
        json["content"] = CONTENT.into();
        let channel = self.channels.get(&channel);
        if let Some(channel) = channel {
            json["channel_type"] = channel.kind.number().into();
        }
        let guild = channel.and_then(|channel| channel.guild);
        if let Some(guild) = guild.and_then(|id| self.guilds.get(&id)) {
            json["guild_id"] = text(guild.id).into();
            if let Some(member) = guild.member(author) {
                json["member"] = partial_member(&member);
            }
        }
        let payload = format!(r#"{{"t":"MESSAGE_CREATE","s":{SEQ_MARK},"op":0,"d":{json}}}"#);
        Flood::new(&payload, first_id, messages, users, done)
    }
}

impl Flood {
    fn new(
        payload: &str,
        first_id: Id,
        messages: u64,
        users: u32,
        done: oneshot::Sender<FloodReport>,
    ) -> Self {
        let mut frame = Vec::new();
        begin_frame(TEXT_FRAME, payload.len(), &mut frame);
        let head = frame.len();
        frame.extend(payload.as_bytes());
        let at = |mark| head + payload.find(mark).unwrap_or_default();
        Self {
            seq_at: at(SEQ_MARK),
            id_at: at(ID_MARK),
            author_at: at(AUTHOR_MARK),
            content_at: at(CONTENT),
            head,
            compressed: Vec::new(),
            batch: frame.repeat(usize::try_from(BATCH).unwrap_or_default()),
            frame: frame.len(),
            next_id: first_id,
            left: messages,
            authors: (0..users.clamp(1, members::CAPACITY))
                .map(members::id_of)
                .collect(),
            next_author: 0,
            started: None,
            report: FloodReport {
                messages,
                took: Duration::ZERO,
                first_id,
            },
            done: Some(done),
        }
    }

    /// How many frames the next batch holds; none when all were written.
    pub fn next_batch(&self) -> u64 {
        self.left.min(BATCH)
    }

    /// The next batch, numbered from `seq` on.
    pub fn render(&mut self, seq: u64, transport: &mut Transport) -> &[u8] {
        self.started.get_or_insert_with(Instant::now);
        let count = self.next_batch();
        let used = usize::try_from(count).unwrap_or_default() * self.frame;
        for (frame, seq) in self.batch[..used].chunks_exact_mut(self.frame).zip(seq..) {
            overwrite(&mut frame[self.seq_at..][..SEQ_MARK.len()], seq);
            overwrite(&mut frame[self.id_at..][..ID_MARK.len()], self.next_id);
            let author = self.authors[self.next_author];
            overwrite(&mut frame[self.author_at..][..AUTHOR_MARK.len()], author);
            scribble(&mut frame[self.content_at..][..CONTENT.len()], self.next_id);
            self.next_id += 1;
            self.next_author = (self.next_author + 1) % self.authors.len();
        }
        self.left -= count;
        let Transport::Zlib(stream) = transport else {
            return &self.batch[..used];
        };
        self.compressed.clear();
        let mut piece = Vec::new();
        for frame in self.batch[..used].chunks_exact(self.frame) {
            piece.clear();
            stream.add(&frame[self.head..], &mut piece);
            begin_frame(BINARY_FRAME, piece.len(), &mut self.compressed);
            self.compressed.extend(&piece);
        }
        &self.compressed
    }

    /// Says that everything was written.
    pub fn finish(&mut self) {
        self.report.took = self
            .started
            .map(|since| since.elapsed())
            .unwrap_or_default();
        if let Some(done) = self.done.take() {
            // Whoever asked may have stopped waiting.
            let _ = done.send(self.report);
        }
    }
}

/// Writes what comes before the payload of a frame that is not masked. Payloads here are shorter
/// than 65,536 bytes.
fn begin_frame(kind: u8, length: usize, to: &mut Vec<u8>) {
    to.push(kind);
    if let Ok(short @ ..126) = u8::try_from(length) {
        to.push(short);
    } else {
        to.push(126);
        to.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// Writes words that nobody has said before.
fn scribble(place: &mut [u8], seed: Id) {
    let mut number = members::mix(seed);
    for part in place.chunks_mut(12) {
        for (at, letter) in part.iter_mut().enumerate() {
            *letter = LETTERS[usize::try_from(number >> (at * 5) & 31).unwrap_or_default()];
        }
        number = members::mix(number);
    }
}

/// Writes a number right-aligned, with spaces before it.
fn overwrite(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = match u8::try_from(number % 10) {
            Ok(value) if number > 0 => b'0' + value,
            _ => b' ',
        };
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn every_frame_is_a_message_of_its_own() {
        let mut state = State::new(&World::new().members(10));
        let channel = state.channels.values().find(|one| one.name == "general");
        let channel = channel.expect("a channel").id;
        let (done, _report) = oneshot::channel();
        let mut flood = state.prepare_flood(channel, 300, 10, done);
        let first = flood.render(41, &mut Transport::Plain).to_vec();
        assert_eq!(first.len(), flood.frame * 256);
        let frame = |bytes: &[u8], number: usize| {
            let one = &bytes[number * flood.frame..][..flood.frame];
            serde_json::from_slice::<serde_json::Value>(&one[4..]).expect("JSON")
        };
        let last = frame(&first, 255);
        assert_eq!(last["s"], 41 + 255);
        assert_eq!(last["d"]["id"], text(flood.report.first_id + 255));
        assert_eq!(last["d"]["author"]["id"], text(members::id_of(5)));
        let content = last["d"]["content"].as_str().expect("a text");
        assert_eq!(content.len(), CONTENT.len());
        assert_ne!(content, frame(&first, 254)["d"]["content"]);
        assert!(
            (1_000..1_100).contains(&flood.frame),
            "{} bytes",
            flood.frame
        );
        assert_eq!(flood.next_batch(), 44);
    }
}
