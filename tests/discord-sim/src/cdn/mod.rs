//! Discord's CDN: the pictures of those who have one, and the files of messages.
//!
//! It is a plain HTTP origin of its own. A picture is there as long as somebody
//! has it, drawn from nothing but its hash; a file is there as long as its message
//! is, for links that are still good.

mod faults;
mod picture;
pub(crate) mod png;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

pub use crate::cdn::faults::{CdnFault, CdnFaultControl};

use crate::Shared;
use crate::clock::Id;
use crate::faults::{Plan, due};
use crate::rest::{Broken, front};
use crate::state::State;

const USUAL_SIDE: u32 = 128;
const SMALLEST_SIDE: u32 = 16;
const LARGEST_SIDE: u32 = 4_096;
const PNG: &str = "image/png";
const TEXT: &str = "text/plain";
/// What Discord says of a file whose link is good no more.
const GONE: &str = "This content is no longer available.";
/// What a fault's big body is sent in pieces of.
const ZEROS: &[u8] = &[0; 1 << 16];

/// What is known of the CDN, and what goes wrong there.
#[derive(Debug, Default)]
pub(crate) struct Cdn {
    /// Its origin.
    pub url: String,
    /// The paths and queries that were asked for, in order.
    pub requests: Vec<String>,
    pub faults: Vec<Plan<CdnFault>>,
}

type Body = UnsyncBoxBody<Bytes, Broken>;

/// What a request leads to.
enum Found {
    /// The picture of this name and size.
    Picture(String, u32),
    /// A file.
    File(Option<String>, Bytes),
    /// Nothing but a status and a text.
    Nothing(u16, &'static str),
}

/// Serves until the simulation ends.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.spawn(serve_connection(stream, shared.clone()));
    }
}

async fn serve_connection(stream: TcpStream, shared: Shared) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Broken connections are among the things that are simulated here.
    let _ = connection.await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Shared,
) -> Result<Response<Body>, Broken> {
    let uri = request.uri();
    let (path, query) = (uri.path(), uri.query());
    let asked = uri.path_and_query().map_or(path, |both| both.as_str());
    let agent = request.headers().get(USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    let is_bot = agent.is_some_and(|agent| agent.starts_with(front::USER_AGENT));
    let (fault, found) = {
        let mut state = shared.lock();
        state.cdn.requests.push(asked.to_owned());
        if state.settings.cdn_needs_user_agent && !is_bot {
            return Ok(whole(
                403,
                "text/html",
                "<html><body>403 Forbidden</body></html>",
            ));
        }
        let fault = due(&mut state.cdn.faults, request.method(), path);
        (fault, state.find(request.method(), path, query))
    };
    // Drawing takes its time, so nothing is locked by now.
    match fault {
        None => Ok(show(found)),
        Some(CdnFault::Status(status)) => Ok(text(status, "It went wrong on purpose.")),
        Some(CdnFault::Html) => Ok(whole(200, "text/html", "<html><body>no</body></html>")),
        Some(CdnFault::Hang) => std::future::pending().await,
        Some(CdnFault::HangInBody) => Ok(half(path)),
        Some(CdnFault::Redirect(to)) => Ok(redirect(&to)),
        Some(CdnFault::Big(length)) => Ok(with_length(big(length), length)),
        Some(CdnFault::BigChunked(length)) => Ok(big(length)),
        Some(CdnFault::Reset) => Err(Broken),
    }
}

impl State {
    fn find(&self, method: &Method, path: &str, query: Option<&str>) -> Found {
        if method != Method::GET {
            return Found::Nothing(405, "Method Not Allowed");
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let hash = match segments.as_slice() {
            ["attachments", ..] => {
                return match self.linked(path, query) {
                    Some(file) => Found::File(file.content_type.clone(), file.bytes.clone()),
                    None => Found::Nothing(404, GONE),
                };
            }
            ["avatars", user, file] => self.avatar(user, file),
            ["guilds", guild, "users", user, "avatars", file] => {
                self.guild_avatar(guild, user, file)
            }
            ["embed", "avatars", file] => usual_avatar(file),
            _ => None,
        };
        let Some(side) = side(query) else {
            return Found::Nothing(400, "Invalid resource");
        };
        match hash {
            Some(hash) => Found::Picture(hash, side),
            None => Found::Nothing(404, "Not Found"),
        }
    }

    /// The avatar that an account has, if it is this one.
    fn avatar(&self, user: &str, file: &str) -> Option<String> {
        let has = self.user(user.parse().ok()?)?.avatar?;
        (file.strip_suffix(".png")? == has).then_some(has)
    }

    /// The avatar that a member has in a guild, if it is this one.
    fn guild_avatar(&self, guild: &str, user: &str, file: &str) -> Option<String> {
        let guild = self.guilds.get(&guild.parse::<Id>().ok()?)?;
        let has = guild.member(user.parse().ok()?)?.avatar?;
        (file.strip_suffix(".png")? == has).then_some(has)
    }
}

/// One of the avatars of those who have none.
fn usual_avatar(file: &str) -> Option<String> {
    let number = file.strip_suffix(".png")?;
    matches!(number, "0" | "1" | "2" | "3" | "4" | "5").then(|| number.to_owned())
}

/// The size that is asked for: a power of two, or not a size.
fn side(query: Option<&str>) -> Option<u32> {
    let mut pairs = query.unwrap_or_default().split('&');
    let Some(asked) = pairs.find_map(|pair| pair.strip_prefix("size=")) else {
        return Some(USUAL_SIDE);
    };
    let side: u32 = asked.parse().ok()?;
    let possible = SMALLEST_SIDE..=LARGEST_SIDE;
    (side.is_power_of_two() && possible.contains(&side)).then_some(side)
}

fn show(found: Found) -> Response<Body> {
    match found {
        Found::Picture(hash, side) => match picture::draw(&hash, side) {
            Ok(png) => whole(200, PNG, png),
            Err(_) => text(500, "Internal Server Error"),
        },
        Found::File(content_type, bytes) => {
            let content_type = content_type.and_then(|name| HeaderValue::from_str(&name).ok());
            let usual = HeaderValue::from_static("application/octet-stream");
            let mut response = whole(200, PNG, bytes);
            set(&mut response, CONTENT_TYPE, content_type.unwrap_or(usual));
            response
        }
        Found::Nothing(status, why) => text(status, why),
    }
}

/// A picture's head and the first half of it, and never the rest.
fn half(path: &str) -> Response<Body> {
    let png = picture::draw(path, USUAL_SIDE).unwrap_or_default();
    let length = png.len() as u64;
    let first = Bytes::from(png).slice(..usize::try_from(length / 2).unwrap_or_default());
    let pieces = stream::iter([first]).chain(stream::pending());
    with_length(streamed(pieces), length)
}

/// That many bytes.
fn big(length: u64) -> Response<Body> {
    let piece = ZEROS.len() as u64;
    let lengths = (0..length.div_ceil(piece)).map(move |at| piece.min(length - at * piece));
    let pieces = lengths.map(|length| {
        let length = usize::try_from(length).unwrap_or_default();
        Bytes::from_static(ZEROS).slice(..length)
    });
    streamed(stream::iter(pieces))
}

fn streamed(pieces: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    respond(200, PNG, StreamBody::new(frames).boxed_unsync())
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = text(302, "Found");
    if let Ok(to) = HeaderValue::from_str(to) {
        set(&mut response, LOCATION, to);
    }
    response
}

fn text(status: u16, text: &'static str) -> Response<Body> {
    whole(status, TEXT, text)
}

fn whole(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    respond(status, content_type, body.boxed_unsync())
}

fn respond(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let status = StatusCode::from_u16(status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(content_type);
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

fn with_length(mut response: Response<Body>, length: u64) -> Response<Body> {
    set(&mut response, CONTENT_LENGTH, length.into());
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::side;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(side(None), Some(128));
        assert_eq!(side(Some("a=1&size=4096")), Some(4_096));
        for wrong in ["size=8", "size=8192", "size=100", "size=", "size=big"] {
            assert_eq!(side(Some(wrong)), None, "{wrong}");
        }
    }
}
