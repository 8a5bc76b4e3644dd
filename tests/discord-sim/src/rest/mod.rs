//! REST v10: what every request goes through, and which function answers it.
//!
//! A request is logged, passes what stands before Discord, meets its fault if one is planned, its
//! rate limit and the check of its token, and is then answered by one plain function of the world's
//! state. Those functions never wait.

mod channels;
pub(crate) mod commands;
pub(crate) mod front;
pub(crate) mod guilds;
pub(crate) mod interactions;
pub(crate) mod limits;
pub(crate) mod messages;
pub(crate) mod multipart;
mod roles;
pub(crate) mod validate;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::attachments::MOST_BYTES;
use crate::clock::{self, Id};
use crate::faults::{self, Fault, Scope};
use crate::objects::{self, text};
use crate::requests::Request;
use crate::rest::front::Caller;
use crate::state::{DateHeader, State};

/// A request must not be longer.
const MAX_BODY: usize = 25 << 20;

/// What a handler makes of a call: a status and a body (null: no body).
pub(crate) type Outcome = Result<(u16, Value), Refusal>;

/// A call as handlers see it.
#[derive(Debug)]
pub(crate) struct Call {
    pub method: Method,
    /// Below `/api/v10`, with a leading slash.
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub body: Value,
    pub files: Vec<multipart::File>,
}

/// A call that Discord refuses.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: u16,
    pub code: u64,
    pub message: &'static str,
    pub errors: Value,
    /// When to come again, where that is told.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub const fn new(status: u16, code: u64, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            errors: Value::Null,
            retry_after: None,
        }
    }

    pub const fn not_found(code: u64, message: &'static str) -> Self {
        Self::new(404, code, message)
    }

    fn body(&self) -> Value {
        let mut body = json!({ "message": self.message, "code": self.code });
        if !self.errors.is_null() {
            body["errors"] = self.errors.clone();
        }
        if let Some(retry_after) = self.retry_after {
            body["retry_after"] = retry_after.as_secs_f64().into();
            body["global"] = false.into();
        }
        body
    }
}

pub(crate) const UNAUTHORIZED: Refusal = Refusal::new(401, 0, "401: Unauthorized");
pub(crate) const UNKNOWN_CHANNEL: Refusal = Refusal::not_found(10_003, "Unknown Channel");
pub(crate) const UNKNOWN_GUILD: Refusal = Refusal::not_found(10_004, "Unknown Guild");
pub(crate) const UNKNOWN_MEMBER: Refusal = Refusal::not_found(10_007, "Unknown Member");
pub(crate) const UNKNOWN_MESSAGE: Refusal = Refusal::not_found(10_008, "Unknown Message");
pub(crate) const UNKNOWN_USER: Refusal = Refusal::not_found(10_013, "Unknown User");
pub(crate) const UNKNOWN_WEBHOOK: Refusal = Refusal::not_found(10_015, "Unknown Webhook");
pub(crate) const UNKNOWN_INTERACTION: Refusal = Refusal::not_found(10_062, "Unknown interaction");
pub(crate) const TOO_LARGE: Refusal = Refusal::new(413, 40_005, "Request entity too large");
pub(crate) const MISSING_ACCESS: Refusal = Refusal::new(403, 50_001, "Missing Access");
pub(crate) const MISSING_PERMISSIONS: Refusal = Refusal::new(403, 50_013, "Missing Permissions");

/// Serves the TLS front, where calls count against the rate limits.
pub(crate) async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, shared: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, connection) = (tls.clone(), shared.clone());
        shared.spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                serve_connection(stream, connection, false).await;
            }
        });
    }
}

/// Serves the plain listener, which answers as a proxy that absorbs the rate
/// limits would.
pub(crate) async fn serve_plain(listener: TcpListener, shared: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.spawn(serve_connection(stream, shared.clone(), true));
    }
}

async fn serve_connection<S>(stream: S, shared: Shared, by_proxy: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, shared.clone(), by_proxy));
    // The header is the world's, not the machine's.
    let mut server = hyper::server::conn::http1::Builder::new();
    let connection = server
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    // Broken connections are among the things that are simulated here.
    let _ = connection.await;
}

/// The connection is to break instead of answering.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("the connection breaks here on purpose")
    }
}

impl std::error::Error for Broken {}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Shared,
    by_proxy: bool,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(respond(TOO_LARGE.status, &TOO_LARGE.body()));
    };
    let header = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    let (body, files) = multipart::read(content_type, &body.to_bytes());
    let call = Call {
        method: parts.method.clone(),
        path: below_version(parts.uri.path()),
        query: read_query(parts.uri.query().unwrap_or_default()),
        body,
        files,
    };
    let token = header(AUTHORIZATION).map(str::to_owned);
    let reason = header(HeaderName::from_static("x-audit-log-reason")).map(percent_decode);

    let agent = header(USER_AGENT).unwrap_or_default();
    let (number, stopped, fault) = {
        let mut state = shared.lock();
        let request = Request {
            at_ms: state.clock.now_ms(),
            method: call.method.clone(),
            path: call.path.clone(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: call.body.clone(),
            agent: agent.to_owned(),
            files: call.files.iter().map(|file| file.name.clone()).collect(),
            reason,
            status: None,
            by_proxy,
        };
        let number = state.log(request);
        // A proxy says who it is by itself.
        let checked = state.settings.rest_needs_user_agent && !by_proxy;
        let caller = Caller {
            answers: answers_interaction(&call.path),
            agent: checked.then_some(agent),
        };
        let stopped = state.front.stop(caller, Instant::now());
        let fault = if stopped.is_none() {
            faults::due(&mut state.faults, &call.method, &call.path)
        } else {
            None
        };
        (number, stopped, fault)
    };
    let answered = |response: &Response<Full<Bytes>>| {
        let mut state = shared.lock();
        if let Some(request) = state.requests.get_mut(&number) {
            request.status = Some(response.status().as_u16());
        }
    };
    let work = || {
        let mut state = shared.lock();
        state.answer(&call, token.as_deref(), by_proxy)
    };
    let mut response = match fault {
        None => stopped.unwrap_or_else(work),
        Some(Fault::Status(status)) => respond(status, &generic_body(status)),
        Some(Fault::Refused { status, code }) => respond(
            status,
            &Refusal::new(status, code, "It was refused on purpose.").body(),
        ),
        Some(Fault::Answer(body)) => respond(200, &body),
        Some(Fault::Html(status)) => html(status),
        Some(Fault::HtmlAfter(status)) => {
            work();
            html(status)
        }
        Some(Fault::RateLimited {
            retry_after,
            scope,
            headers,
        }) => rate_limited(retry_after, scope, headers),
        Some(Fault::Delay(by)) => {
            tokio::time::sleep(by).await;
            work()
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => return Err(Broken),
        Some(Fault::ResetAfter) => {
            answered(&work());
            return Err(Broken);
        }
        Some(Fault::StatusAfter(status)) => {
            work();
            respond(status, &generic_body(status))
        }
    };
    answered(&response);
    shared.lock().stamp_date(&mut response);
    Ok(response)
}

impl State {
    /// Says in an answer what time it is.
    fn stamp_date(&self, response: &mut Response<Full<Bytes>>) {
        let now = self.clock.now_ms();
        let (at, off) = match self.settings.date {
            DateHeader::World => (now, 0),
            DateHeader::Off(seconds) => (now, seconds),
            DateHeader::At(ms) => (ms, 0),
            DateHeader::Missing => return,
        };
        let date = clock::http_date(at, off);
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert(DATE, date);
        }
    }

    fn answer(
        &mut self,
        call: &Call,
        token: Option<&str>,
        by_proxy: bool,
    ) -> Response<Full<Bytes>> {
        let open = answers_interaction(&call.path);
        let limited = self.settings.rate_limits && !by_proxy;
        let headers = if limited {
            match self.limits.take(&call.method, &call.path, open) {
                Ok(headers) => headers,
                Err(over) => {
                    let mut response = rate_limited(over.retry_after, over.scope, true);
                    limits::stamp(&mut response, &over.headers);
                    return response;
                }
            }
        } else {
            Vec::new()
        };
        let wanted = format!("Bot {}", self.settings.token);
        let public = open || call.path == "/gateway";
        let outcome = if public || token == Some(wanted.as_str()) {
            self.route(call)
        } else {
            Err(UNAUTHORIZED)
        };
        let mut retry_after = None;
        let (status, mut body) = outcome.unwrap_or_else(|refusal| {
            tracing::debug!(%call.method, call.path, ?refusal, "refused");
            retry_after = refusal.retry_after;
            (refusal.status, refusal.body())
        });
        self.freshen(&mut body);
        objects::add_to_users(&mut body, &self.settings.user_fields);
        let mut response = respond(status, &body);
        if let Some(retry_after) = retry_after {
            stamp_retry_after(&mut response, retry_after, Scope::User);
        }
        limits::stamp(&mut response, &headers);
        response
    }

    fn route(&mut self, call: &Call) -> Outcome {
        if call.files.iter().any(|file| file.bytes.len() > MOST_BYTES) {
            return Err(TOO_LARGE);
        }
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["gateway"]) => Ok((200, json!({ "url": self.gateway.url }))),
            ("GET", ["gateway", "bot"]) => Ok((200, self.gateway_bot())),
            ("GET", ["users", "@me"]) => self.get_user(self.bot),
            ("GET", ["users", "@me", "guilds"]) => Ok((200, self.own_guilds())),
            ("POST", ["users", "@me", "channels"]) => self.open_dm(call),
            ("GET", ["users", user]) => self.get_user(id("user_id", user)?),
            ("GET", ["oauth2", "applications", "@me"] | ["applications", "@me"]) => {
                Ok((200, self.own_application()))
            }
            ("GET", ["guilds", guild]) => self.get_guild(id("guild_id", guild)?, call),
            ("GET", ["guilds", guild, "onboarding"]) => self.get_onboarding(id("guild_id", guild)?),
            ("GET", ["guilds", guild, "channels"]) => self.list_channels(id("guild_id", guild)?),
            ("POST", ["guilds", guild, "channels"]) => {
                self.post_channel(id("guild_id", guild)?, call)
            }
            ("GET", ["guilds", guild, "threads", "active"]) => {
                self.list_active_threads(id("guild_id", guild)?)
            }
            (_, ["guilds", guild, "roles", rest @ ..]) => {
                self.route_roles(id("guild_id", guild)?, rest, call)
            }
            ("PUT" | "DELETE", ["guilds", guild, "members", user, "roles", role]) => {
                let (guild, user) = (id("guild_id", guild)?, id("user_id", user)?);
                let role = id("role_id", role)?;
                if call.method == Method::PUT {
                    self.grant_role(guild, user, role)
                } else {
                    self.revoke_role(guild, user, role)
                }
            }
            ("GET", ["guilds", guild, "members"]) => {
                self.list_members(id("guild_id", guild)?, call)
            }
            ("GET", ["guilds", guild, "members", user]) => {
                self.get_member(id("guild_id", guild)?, id("user_id", user)?)
            }
            ("GET", ["guilds", guild, "bans"]) => self.list_bans(id("guild_id", guild)?, call),
            ("GET", ["channels", channel]) => self.get_channel(id("channel_id", channel)?),
            ("DELETE", ["channels", channel]) => self.remove_channel(id("channel_id", channel)?),
            ("POST", ["channels", channel, "typing"]) => self.type_in(id("channel_id", channel)?),
            ("GET", ["channels", channel, "threads", "archived", "public"]) => {
                self.list_archived_threads(id("channel_id", channel)?, call)
            }
            (
                "GET",
                [
                    "channels",
                    channel,
                    "users",
                    "@me",
                    "threads",
                    "archived",
                    "private",
                ],
            ) => self.list_joined_threads(id("channel_id", channel)?, call),
            ("GET", ["channels", channel, "messages"]) => {
                self.list_messages(id("channel_id", channel)?, call)
            }
            ("POST", ["channels", channel, "messages"]) => {
                self.create_message(id("channel_id", channel)?, call)
            }
            ("GET", ["channels", channel, "messages", message]) => {
                self.get_message(id("channel_id", channel)?, id("message_id", message)?)
            }
            ("PATCH", ["channels", channel, "messages", message]) => {
                self.edit_message(id("channel_id", channel)?, id("message_id", message)?, call)
            }
            ("DELETE", ["channels", channel, "messages", message]) => {
                self.remove_message(id("channel_id", channel)?, id("message_id", message)?)
            }
            (_, ["applications", app, rest @ ..]) => {
                self.route_commands(id("app", app)?, rest, call)
            }
            ("POST", ["interactions", interaction, token, "callback"]) => {
                self.callback(id("interaction_id", interaction)?, token, call)
            }
            (_, ["webhooks", app, token, rest @ ..]) => {
                self.route_webhook(id("webhook_id", app)?, token, rest, call)
            }
            _ => unknown_route(call),
        }
    }

    fn gateway_bot(&self) -> Value {
        let limit = self.settings.identify_limit;
        let limits = json!({
            "total": limit,
            "remaining": limit.saturating_sub(self.gateway.identifies),
            "reset_after": 86_400_000,
            "max_concurrency": 1,
        });
        json!({ "url": self.gateway.url, "shards": 1, "session_start_limit": limits })
    }

    fn own_application(&self) -> Value {
        let bot = self.user(self.bot);
        let name = bot.as_ref().map(|bot| bot.username.clone());
        let guild = self.guilds.get(&self.main_guild);
        let owner = guild.and_then(|guild| self.user(guild.owner));
        json!({
            "id": text(self.bot),
            "name": name,
            "icon": null,
            "description": "",
            "summary": "",
            "type": null,
            "bot": bot.as_ref().map(objects::user),
            "bot_public": true,
            "bot_require_code_grant": false,
            "verify_key": "0".repeat(64),
            "owner": owner.as_ref().map(objects::user),
            "team": null,
            "flags": self.application_flags(),
            "hook": true,
            "redirect_uris": [],
            "interactions_endpoint_url": null,
            "role_connections_verification_url": null,
            "approximate_guild_count": self.guilds.len(),
            "approximate_user_install_count": 0,
        })
    }
}

/// Whether a call answers an interaction: it needs no token, and the limit for all routes does not
/// count it.
fn answers_interaction(path: &str) -> bool {
    path.starts_with("/interactions/") || path.starts_with("/webhooks/")
}

/// The id in a path segment.
fn id(name: &'static str, segment: &str) -> Result<Id, Refusal> {
    segment.parse().map_err(|_| {
        let mut form = validate::Form::default();
        let message = format!("Value \"{segment}\" is not snowflake.");
        form.refuse(name, "NUMBER_TYPE_COERCE", &message);
        form.refusal()
    })
}

pub(crate) fn unknown_route(call: &Call) -> Outcome {
    tracing::error!(method = %call.method, call.path, "no such route in the simulator");
    Err(Refusal::not_found(0, "404: Not Found"))
}

fn respond(status: u16, body: &Value) -> Response<Full<Bytes>> {
    if body.is_null() {
        return build(status, None, String::new());
    }
    build(status, Some("application/json"), body.to_string())
}

fn html(status: u16) -> Response<Full<Bytes>> {
    let page = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1>\
         </center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    );
    build(status, Some("text/html; charset=UTF-8"), page)
}

fn build(status: u16, content_type: Option<&'static str>, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(content_type) = content_type {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

fn generic_body(status: u16) -> Value {
    let refused = match status {
        401 => UNAUTHORIZED,
        403 => MISSING_ACCESS,
        404 => Refusal::not_found(0, "404: Not Found"),
        429 => {
            return json!({ "message": "You are being rate limited.", "retry_after": 0.1, "global": false });
        }
        500 => Refusal::new(500, 0, "500: Internal Server Error"),
        _ => Refusal::new(status, 0, "upstream connect error"),
    };
    refused.body()
}

fn rate_limited(retry_after: Duration, scope: Scope, headers: bool) -> Response<Full<Bytes>> {
    let body = json!({
        "message": "You are being rate limited.",
        "retry_after": retry_after.as_secs_f64(),
        "global": scope == Scope::Global,
    });
    let mut response = respond(429, &body);
    if headers {
        stamp_retry_after(&mut response, retry_after, scope);
    }
    response
}

fn stamp_retry_after(response: &mut Response<Full<Bytes>>, retry_after: Duration, scope: Scope) {
    let map = response.headers_mut();
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    map.insert(RETRY_AFTER, seconds.into());
    map.insert("x-ratelimit-scope", HeaderValue::from_static(scope.name()));
    if scope == Scope::Global {
        map.insert("x-ratelimit-global", HeaderValue::from_static("true"));
    }
}

/// `/api/v10/gateway` and `/api/gateway` are `/gateway`.
fn below_version(path: &str) -> String {
    let path = path.strip_prefix("/api").unwrap_or(path);
    let path = path.strip_prefix("/v10").unwrap_or(path);
    path.trim_end_matches('/').to_owned()
}

fn read_query(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (percent_decode(name), percent_decode(value)))
        .collect()
}

fn percent_decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_and_without_the_version() {
        assert_eq!(below_version("/api/v10/gateway/bot"), "/gateway/bot");
        assert_eq!(below_version("/api/gateway"), "/gateway");
    }

    #[test]
    fn queries_are_decoded() {
        let query = read_query("limit=5&reason=a%20b+c%");
        assert_eq!(query["limit"], "5");
        assert_eq!(query["reason"], "a b c%");
    }
}
