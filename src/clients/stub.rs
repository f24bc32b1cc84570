//! The other end of the wire in tests: answers each connection with literal bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use url::Url;

/// What one connection gets.
pub(super) enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then nothing until the caller hangs up.
    Stall(Vec<u8>),
    /// A closed door with the request still in front of it, which TCP answers with a reset.
    Reset,
}

/// A server on a free port of this machine.
pub(super) struct Stub {
    pub url: Url,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Serves as many connections as there are replies, then none.
    pub fn new(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for reply in replies {
                let (stream, _) = listener.accept().unwrap();
                serve(stream, reply, &seen);
            }
        });
        Self { url, requests }
    }

    /// Answers once with that status and JSON body.
    pub fn json(status: &str, body: &str) -> Self {
        Self::new(vec![answer(status, "", body)])
    }

    /// Where nobody listens.
    pub fn nobody() -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap()
    }

    /// The requests so far, as they stood on the wire, their names of headers in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A whole answer; `headers` are lines that each end in `\r\n`.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    Reply::Bytes(format!("{head}{headers}\r\n{body}").into_bytes())
}

fn serve(mut stream: TcpStream, reply: Reply, seen: &Mutex<Vec<String>>) {
    if matches!(reply, Reply::Reset) {
        stream.peek(&mut [0]).unwrap();
        return;
    }
    let request = read_request(&mut stream);
    seen.lock().unwrap().push(request);
    match reply {
        Reply::Bytes(bytes) => {
            // The caller may have hung up on an answer that is too large.
            drop(stream.write_all(&bytes));
        }
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).unwrap();
            drop(stream.read(&mut [0]));
        }
        Reply::Reset => (),
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}
