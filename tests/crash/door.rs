//! The one address of a service that dies and comes back: whoever knocks meanwhile is turned away.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Listens for as long as it lives and leads to whoever serves at the moment.
pub struct Door {
    pub address: String,
    behind: watch::Sender<Option<String>>,
    _accepting: JoinSet<()>,
}

impl Door {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (behind, view) = watch::channel(None);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((guest, _)) = listener.accept().await {
                let serving = view.borrow().clone();
                guests.spawn(lead(guest, serving));
            }
        });
        Self { address, behind, _accepting: accepting }
    }

    /// Where to say which service it leads to, if any.
    pub fn handle(&self) -> watch::Sender<Option<String>> {
        self.behind.clone()
    }
}

/// A service that dies takes its connections with it, and so does this.
async fn lead(mut guest: TcpStream, serving: Option<String>) {
    let Some(serving) = serving else { return };
    let Ok(mut service) = TcpStream::connect(serving).await else { return };
    drop(tokio::io::copy_bidirectional(&mut guest, &mut service).await);
}
