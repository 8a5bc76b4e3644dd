//! A client of the gateway and one of REST, as simple as can be.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use discord_sim::{Sim, World};
use flate2::read::ZlibDecoder;
use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Certificate, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Guilds, members, guild messages, direct messages, message content.
pub const INTENTS: u64 = 1 | 1 << 1 | 1 << 9 | 1 << 12 | 1 << 15;
const PATIENCE: Duration = Duration::from_secs(20);

/// A usual simulation without rate limits.
pub async fn simulation() -> Sim {
    let sim = Sim::start(World::new().members(2_500))
        .await
        .expect("the simulation starts");
    sim.settings(|settings| settings.rate_limits = false);
    sim
}

/// A client of the gateway.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The sequence number of the last event that came.
    pub seq: u64,
    /// How many compressed payloads came.
    pub compressed: u32,
    /// Of the stream that all payloads are pieces of, where transport compression was asked for.
    stream: Option<Decompress>,
}

/// What the gateway says.
#[derive(Debug)]
pub enum Said {
    Payload(Value),
    /// Closed, with a code if there was one.
    Closed(Option<u16>),
    /// The connection broke.
    Broken,
}

impl Client {
    /// Connects and takes Hello.
    pub async fn connect(sim: &Sim) -> Self {
        Self::connect_to(&sim.gateway_url()).await
    }

    /// Connects to the gateway at this address and takes Hello.
    pub async fn connect_to(gateway: &str) -> Self {
        Self::greeted(&format!("{gateway}/?v=10&encoding=json"), None).await
    }

    /// Connects with transport compression and takes Hello.
    pub async fn connect_compressed(sim: &Sim) -> Self {
        let url = format!(
            "{}/?v=10&encoding=json&compress=zlib-stream",
            sim.gateway_url()
        );
        Self::greeted(&url, Some(Decompress::new(true))).await
    }

    async fn greeted(url: &str, stream: Option<Decompress>) -> Self {
        let mut client = Self {
            stream,
            ..Self::at(url).await
        };
        assert_eq!(client.next().await["op"], 10, "Hello comes first");
        client
    }

    /// Connects to this address with its query, and takes nothing.
    pub async fn at(url: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("the gateway lets in");
        Self {
            socket,
            seq: 0,
            compressed: 0,
            stream: None,
        }
    }

    /// Connects, identifies, and takes READY and the guild.
    pub async fn identified(sim: &Sim, intents: u64) -> Self {
        let mut client = Self::connect(sim).await;
        client.begin(sim, intents).await;
        client
    }

    /// Identifies, and takes READY and the guild.
    pub async fn begin(&mut self, sim: &Sim, intents: u64) -> Value {
        self.identify(&sim.token(), intents).await;
        let ready = self.event("READY").await;
        self.event("GUILD_CREATE").await;
        ready
    }

    pub async fn identify(&mut self, token: &str, intents: u64) {
        let properties = json!({ "os": "linux", "browser": "test", "device": "test" });
        let data = json!({ "token": token, "intents": intents, "properties": properties });
        self.send(&json!({ "op": 2, "d": data })).await;
    }

    pub async fn resume(&mut self, sim: &Sim, session: &str, seq: u64) {
        let data = json!({ "token": sim.token(), "session_id": session, "seq": seq });
        self.send(&json!({ "op": 6, "d": data })).await;
    }

    pub async fn send(&mut self, payload: &Value) {
        self.send_text(&payload.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        // The gateway may have closed by now; what it said tells.
        let _ = self.socket.send(Frame::text(text)).await;
    }

    /// Says goodbye, and does not wait for an answer.
    pub async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        let _ = self.socket.send(Frame::Close(Some(frame))).await;
    }

    /// What comes next, whatever it is.
    pub async fn said(&mut self) -> Said {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next())
            .await
            .expect("the gateway says something");
        let payload: Value = match frame {
            Some(Ok(Frame::Text(text))) => serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Frame::Binary(bytes))) => {
                self.compressed += 1;
                if let Some(stream) = &mut self.stream {
                    read_piece(stream, &bytes)
                } else {
                    let text = ZlibDecoder::new(&bytes[..]);
                    serde_json::from_reader(text).expect("zlib of JSON")
                }
            }
            Some(Ok(Frame::Close(close))) => {
                return Said::Closed(close.map(|close| close.code.into()));
            }
            _ => return Said::Broken,
        };
        self.seq = payload["s"].as_u64().unwrap_or(self.seq);
        Said::Payload(payload)
    }

    /// The next frame's bytes, which are a payload or not.
    pub async fn bytes(&mut self) -> Vec<u8> {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let frame = frame.expect("the gateway says something");
        let frame = frame.expect("it is open").expect("it is whole");
        frame.into_data().to_vec()
    }

    /// The next payload.
    pub async fn next(&mut self) -> Value {
        match self.said().await {
            Said::Payload(payload) => payload,
            other => panic!("expected a payload, not {other:?}"),
        }
    }

    /// The next payload, which is this event.
    pub async fn event(&mut self, name: &str) -> Value {
        let payload = self.next().await;
        assert_eq!(payload["t"], name, "{payload}");
        payload["d"].clone()
    }

    /// The code it is closed with next.
    pub async fn closed(&mut self) -> Option<u16> {
        match self.said().await {
            Said::Closed(code) => code,
            other => panic!("expected to be closed, not {other:?}"),
        }
    }
}

/// The payload of one piece of a zlib stream.
fn read_piece(stream: &mut Decompress, piece: &[u8]) -> Value {
    assert!(piece.ends_with(&[0, 0, 0xff, 0xff]), "each is flushed");
    let mut text = Vec::with_capacity(1 << 20);
    let mode = FlushDecompress::Sync;
    let read = stream.decompress_vec(piece, &mut text, mode);
    read.expect("a piece of the stream");
    serde_json::from_slice(&text).expect("JSON")
}

/// A client of REST.
pub struct Rest {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Rest {
    /// One that goes to discord.com, which is the TLS front.
    pub fn new(sim: &Sim) -> Self {
        Self::at(sim.api_address(), &sim.ca_path(), &sim.token())
    }

    /// The same, where only the address, the certificate and the token are known.
    pub fn at(address: SocketAddr, ca: &Path, token: &str) -> Self {
        let pem = std::fs::read(ca).expect("the certificate is there");
        let client = reqwest::Client::builder()
            .add_root_certificate(Certificate::from_pem(&pem).expect("a certificate"))
            .resolve("discord.com", address)
            .user_agent("DiscordBot (https://example.invalid, 1)")
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        Self {
            client,
            base: format!("https://discord.com:{}/api/v10", address.port()),
            token: format!("Bot {token}"),
        }
    }

    /// One that goes to the plain listener.
    pub fn by_proxy(sim: &Sim) -> Self {
        Self {
            client: reqwest::Client::new(),
            base: format!("{}/api/v10", sim.proxy_url()),
            token: format!("Bot {}", sim.token()),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .header("Authorization", &self.token)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(
            self.request(Method::GET, path)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        read(
            self.request(method, path)
                .json(body)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    /// Sends a form with files.
    pub async fn upload(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        files: &[(&str, &[u8])],
    ) -> (u16, Value) {
        let (content_type, form) = form(body, files);
        let request = self.request(method, path);
        let request = request.header("Content-Type", content_type).body(form);
        read(request.send().await.expect("an answer")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, body).await
    }
}

/// A form with a body in JSON and files, each with its own name.
pub fn form(body: &Value, files: &[(&str, &[u8])]) -> (&'static str, Vec<u8>) {
    let mut form = Vec::new();
    let mut part = |head: String, content: &[u8]| {
        form.extend(format!("--xx\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes());
        form.extend(content);
        form.extend(b"\r\n");
    };
    part("name=\"payload_json\"".into(), body.to_string().as_bytes());
    for (at, (name, bytes)) in files.iter().enumerate() {
        part(format!("name=\"files[{at}]\"; filename=\"{name}\""), bytes);
    }
    form.extend(b"--xx--\r\n");
    ("multipart/form-data; boundary=xx", form)
}

/// Status and body; null if the body is not JSON.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// The id of an object.
pub fn id(object: &Value) -> u64 {
    let id = object["id"].as_str().and_then(|id| id.parse().ok());
    id.expect("an id")
}

/// Where the guild's commands are registered.
pub fn commands(sim: &Sim) -> String {
    format!(
        "/applications/{}/guilds/{}/commands",
        sim.bot_id(),
        sim.guild_id()
    )
}

/// Where an interaction is answered first.
pub fn callback(interaction: &Value) -> String {
    let part = |name: &str| interaction[name].as_str().unwrap_or_default().to_owned();
    format!("/interactions/{}/{}/callback", part("id"), part("token"))
}

/// Where it is answered from then on.
pub fn webhook(sim: &Sim, interaction: &Value) -> String {
    let token = interaction["token"].as_str().unwrap_or_default();
    format!("/webhooks/{}/{token}", sim.bot_id())
}
