//! Accepts the gateway's connections at its two addresses: lets them in or leaves them unanswered,
//! and shakes hands. Speaks no gateway protocol.

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::Shared;
use crate::gateway::{Address, Door};
use crate::socket;
use crate::transport::Transport;

/// Takes connections at one of the addresses until the simulation ends.
pub(crate) async fn serve(listener: TcpListener, address: Address, shared: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let door = {
            let gateway = &mut shared.lock().gateway;
            let ignored = matches!(gateway.door, Door::Ajar | Door::NoHello);
            gateway.ignored += u64::from(ignored);
            gateway.door
        };
        match door {
            Door::Shut => {}
            Door::Ajar => shared.spawn(ignore(stream)),
            Door::Open | Door::NoHello | Door::HelloOnly => {
                shared.spawn(enter(stream, address, door, shared.clone()));
            }
        }
    }
}

/// Keeps a connection on which nothing is ever said.
async fn ignore(_stream: TcpStream) {
    std::future::pending::<()>().await;
}

async fn enter(stream: TcpStream, address: Address, door: Door, shared: Shared) {
    // Delaying small frames would only slow tests down; it is not required.
    let _ = stream.set_nodelay(true);
    let Some((mut socket, asked_for)) = shake_hands(stream).await else {
        return;
    };
    match asked_for {
        Ok(transport) => socket::serve(socket, transport, address, door, shared).await,
        Err(code) => socket::close(&mut socket, Some(code)).await,
    }
}

/// Makes a websocket of a connection; what its address asks for may be refused with a close code.
async fn shake_hands(
    stream: TcpStream,
) -> Option<(WebSocketStream<TcpStream>, Result<Transport, u16>)> {
    let mut query = String::new();
    #[expect(
        clippy::result_large_err,
        reason = "the websocket's library wants it so"
    )]
    let read = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        query.push_str(request.uri().query().unwrap_or_default());
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, read).await;
    Some((socket.ok()?, Transport::asked_for(&query)))
}
