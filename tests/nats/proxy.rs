//! A connection to a server that can be tampered with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What happens when a trigger is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection is cut before the trigger reaches the server.
    Before,
    /// The server gets what the client sends, but its replies are dropped; then the connection
    /// is cut.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Relay,
    /// Connections stay open, but nothing gets through.
    Stall,
    /// Connections are refused.
    Refuse,
}

struct Shared {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Connections of an earlier generation than this are cut.
    cuts: watch::Sender<u64>,
    trigger: Mutex<Option<Trigger>>,
}

#[derive(Clone, Copy)]
struct Trigger {
    bytes: &'static [u8],
    cut: Cut,
    is_lasting: bool,
}

/// Relays connections to a server until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Proxy {
    /// Creates a proxy to a server on this loopback port.
    pub async fn new(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: (Ipv4Addr::LOCALHOST, port).into(),
            mode: watch::Sender::new(Mode::Relay),
            cuts: watch::Sender::new(0),
            trigger: Mutex::default(),
        });
        let accepting = accept(listener, Arc::clone(&shared));
        Self {
            address,
            shared,
            task: tokio::spawn(accepting).abort_handle(),
        }
    }

    pub fn address(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts all connections and refuses new ones.
    pub fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.cut();
    }

    /// Keeps all connections open, but lets nothing through.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Lets everything through again.
    pub fn relay(&self) {
        self.shared.mode.send_replace(Mode::Relay);
    }

    /// Cuts the next connection on which a client sends this, once.
    pub fn cut_at(&self, bytes: &'static [u8], cut: Cut) {
        self.set_trigger(bytes, cut, false);
    }

    /// Cuts every connection on which a client sends this, before the server gets it.
    pub fn always_cut_at(&self, bytes: &'static [u8]) {
        self.set_trigger(bytes, Cut::Before, true);
    }

    fn set_trigger(&self, bytes: &'static [u8], cut: Cut, is_lasting: bool) {
        *self.shared.trigger.lock().unwrap() = Some(Trigger {
            bytes,
            cut,
            is_lasting,
        });
    }

    /// Returns whether the cut that [`cut_at`](Self::cut_at) requested is still to happen.
    pub fn is_armed(&self) -> bool {
        self.shared.trigger.lock().unwrap().is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if *shared.mode.borrow() == Mode::Refuse {
            continue;
        }
        let Ok(server) = TcpStream::connect(shared.server).await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let is_deaf = watch::Sender::new(false);
            tokio::select! {
                _ = cuts.changed() => {}
                () = upstream(from_client, to_server, &shared, &is_deaf) => {}
                () = downstream(from_server, to_client, &shared, &is_deaf) => {}
            }
        });
    }
}

/// Relays from the client to the server.
async fn upstream(
    mut client: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
    shared: &Shared,
    is_deaf: &watch::Sender<bool>,
) {
    let mut buffer = vec![0; 1 << 16];
    // The last bytes relayed, in which a trigger may begin.
    let mut tail = Vec::new();
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        let fresh = &buffer[..count];
        wait(shared).await;
        match pull(shared, &tail, fresh) {
            Some(Cut::Before) => return,
            Some(Cut::After) => {
                is_deaf.send_replace(true);
                let _ = server.write_all(fresh).await;
                // Whether the server has got everything by then does not matter.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
            None => {}
        }
        if server.write_all(fresh).await.is_err() {
            return;
        }
        tail.extend_from_slice(fresh);
        let excess = tail.len().saturating_sub(64);
        tail.drain(..excess);
    }
}

/// Returns what to do if the trigger has been sent.
fn pull(shared: &Shared, tail: &[u8], fresh: &[u8]) -> Option<Cut> {
    let mut trigger = shared.trigger.lock().unwrap();
    let Trigger {
        bytes,
        cut,
        is_lasting,
    } = (*trigger)?;
    let tail = &tail[tail.len().saturating_sub(bytes.len() - 1)..];
    let seen = [tail, fresh].concat();
    if !seen.windows(bytes.len()).any(|window| window == bytes) {
        return None;
    }
    if !is_lasting {
        *trigger = None;
    }
    Some(cut)
}

/// Relays from the server to the client.
async fn downstream(
    mut server: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
    shared: &Shared,
    is_deaf: &watch::Sender<bool>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = server.read(&mut buffer).await {
        wait(shared).await;
        if *is_deaf.borrow() {
            continue;
        }
        if client.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while everything is stalled.
async fn wait(shared: &Shared) {
    let mut mode = shared.mode.subscribe();
    // The sender lives as long as `shared`.
    let _ = mode.wait_for(|mode| *mode != Mode::Stall).await;
}
