//! Very many messages, as fast as the socket takes them.
//!
//! One frame is rendered once. From then on only its sequence number, message
//! id and author id are overwritten in place, and whole batches of frames are
//! written to the socket at once. Where the transport is compressed, so is all of the frame but
//! these three, which are stored in the stream as they are: the client has all of its work, and the
//! simulator none.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::{Id, timestamp};
use crate::members;
use crate::message::message_object;
use crate::objects::{self, partial_member, text};
use crate::state::State;
use crate::transport;

/// The first byte of a whole frame that is text, and of one that is not.
const TEXT_FRAME: u8 = 0x81;
const BINARY_FRAME: u8 = 0x82;
/// Frames in a batch.
const BATCH: u64 = 256;
/// With it a frame has the length of a usual message's, about 1,050 bytes.
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

/// A flood that somebody wants.
#[derive(Debug)]
pub(crate) struct FloodOrder {
    payload: String,
    first_id: Id,
    messages: u64,
    users: u32,
    done: oneshot::Sender<FloodReport>,
}

/// A flood on its way through one connection.
#[derive(Debug)]
pub(crate) struct Flood {
    frames: Frames,
    next_id: Id,
    left: u64,
    authors: Vec<Id>,
    next_author: usize,
    started: Option<Instant>,
    report: FloodReport,
    done: Option<oneshot::Sender<FloodReport>>,
}

/// A batch of frames, all alike until they are overwritten.
#[derive(Debug)]
struct Frames {
    batch: Vec<u8>,
    /// The bytes of one.
    length: usize,
    /// Where in a frame the sequence number, message id and author id stand.
    seq_at: usize,
    id_at: usize,
    author_at: usize,
}

impl State {
    /// Renders a flood: messages of the first `users` generated members.
    pub(crate) fn prepare_flood(
        &mut self,
        channel: Id,
        messages: u64,
        users: u32,
        done: oneshot::Sender<FloodReport>,
    ) -> FloodOrder {
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
        FloodOrder {
            payload,
            first_id,
            messages,
            users,
            done,
        }
    }
}

impl Frames {
    fn new(payload: &str, compressed: bool) -> Self {
        let marks = [SEQ_MARK, ID_MARK, AUTHOR_MARK];
        let places = marks.map(|mark| payload.find(mark).unwrap_or_default());
        let mut in_order = [0, 1, 2];
        in_order.sort_unstable_by_key(|&which| places[which]);
        let pack = |part: &str| {
            if compressed {
                transport::block(part.as_bytes())
            } else {
                part.as_bytes().to_vec()
            }
        };
        let (mut body, mut at, mut rest) = (Vec::new(), [0; 3], 0);
        for which in in_order {
            let (mark, place) = (marks[which], places[which]);
            body.extend(pack(&payload[rest..place]));
            if compressed {
                let length = u16::try_from(mark.len()).unwrap_or_default();
                body.extend(transport::stored_head(length));
            }
            at[which] = body.len();
            body.extend(mark.as_bytes());
            rest = place + mark.len();
        }
        body.extend(pack(&payload[rest..]));

        let kind = if compressed { BINARY_FRAME } else { TEXT_FRAME };
        // Between 126 and 65,535 bytes, a frame's length takes two bytes.
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let head = [&[kind, 126][..], &length.to_be_bytes()].concat();
        let [seq_at, id_at, author_at] = at.map(|place| head.len() + place);
        let frame = [head, body].concat();
        Self {
            batch: frame.repeat(usize::try_from(BATCH).unwrap_or_default()),
            length: frame.len(),
            seq_at,
            id_at,
            author_at,
        }
    }
}

impl Flood {
    /// Renders it for a connection.
    pub fn new(wanted: FloodOrder, compressed: bool) -> Self {
        Self {
            frames: Frames::new(&wanted.payload, compressed),
            next_id: wanted.first_id,
            left: wanted.messages,
            authors: (0..wanted.users.clamp(1, members::CAPACITY))
                .map(members::id_of)
                .collect(),
            next_author: 0,
            started: None,
            report: FloodReport {
                messages: wanted.messages,
                took: Duration::ZERO,
                first_id: wanted.first_id,
            },
            done: Some(wanted.done),
        }
    }

    /// How many frames the next batch holds; none when all were written.
    pub fn next_batch(&self) -> u64 {
        self.left.min(BATCH)
    }

    /// The next batch, numbered from `seq` on.
    pub fn render(&mut self, seq: u64) -> &[u8] {
        self.started.get_or_insert_with(Instant::now);
        let count = self.next_batch();
        let Frames {
            batch,
            length,
            seq_at,
            id_at,
            author_at,
        } = &mut self.frames;
        let used = usize::try_from(count).unwrap_or_default() * *length;
        for (frame, seq) in batch[..used].chunks_exact_mut(*length).zip(seq..) {
            overwrite(&mut frame[*seq_at..][..SEQ_MARK.len()], seq);
            overwrite(&mut frame[*id_at..][..ID_MARK.len()], self.next_id);
            let author = self.authors[self.next_author];
            overwrite(&mut frame[*author_at..][..AUTHOR_MARK.len()], author);
            self.next_id += 1;
            self.next_author = (self.next_author + 1) % self.authors.len();
        }
        self.left -= count;
        &batch[..used]
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
        let mut flood = Flood::new(state.prepare_flood(channel, 300, 10, done), false);
        let first = flood.render(41).to_vec();
        assert_eq!(first.len(), flood.frames.length * 256);
        let frame = |bytes: &[u8], number: usize| {
            let one = &bytes[number * flood.frames.length..][..flood.frames.length];
            serde_json::from_slice::<serde_json::Value>(&one[4..]).expect("JSON")
        };
        let last = frame(&first, 255);
        assert_eq!(last["s"], 41 + 255);
        assert_eq!(last["d"]["id"], text(flood.report.first_id + 255));
        assert_eq!(last["d"]["author"]["id"], text(members::id_of(5)));
        assert!(
            (1_000..1_100).contains(&flood.frames.length),
            "{} bytes",
            flood.frames.length
        );
        assert_eq!(flood.next_batch(), 44);
    }
}
