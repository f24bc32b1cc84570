//! Who sent a request, as far as addresses tell: the peer, or whom our own proxies name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client as its address tells: one IPv4 address, or the /64 of IPv6 that one household has.
///
/// An address is personal data: this can be compared and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    V4([u8; 4]),
    V6([u16; 4]),
    /// A request that came over no connection. All of these are one client.
    Unknown,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Client")
    }
}

impl Client {
    /// Whoever is on the far side of the last proxy of ours. Where the list turns unreadable, the
    /// last hop that a proxy of ours vouches for.
    pub(super) fn of(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let Some(peer) = peer else { return Self::Unknown };
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let mut client = peer.ip().to_canonical();
        // Several headers are one list, and each proxy writes at its end.
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while is_trusted(client) {
            let Some(hop) = hops.next().and_then(address) else { break };
            client = hop.to_canonical();
        }
        Self::at(client)
    }

    /// Whoever has this address.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let alone = text.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    alone.or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXIES: [&str; 3] = ["127.0.0.1/32", "::1/128", "203.0.113.128/25"];

    fn client(peer: &str, forwarded: &[&str]) -> Client {
        let trusted = PROXIES.map(|network| network.parse().unwrap());
        let lines = forwarded.iter().map(|line| (FORWARDED_FOR, line.parse().unwrap()));
        Client::of(Some(peer.parse().unwrap()), &lines.collect(), &trusted)
    }

    fn v4(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_no_proxy_of_ours() {
        let near = "127.0.0.1:4000";
        for (forwarded, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["203.0.113.11, 203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.11", "203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, 203.0.113.131"], "203.0.113.7"),
            (&["203.0.113.7", "203.0.113.131,203.0.113.132"], "203.0.113.7"),
            (&["203.0.113.7:51000"], "203.0.113.7"),
            (&[" 203.0.113.7 "], "203.0.113.7"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
        ] {
            assert!(client(near, forwarded) == v4(expected), "{forwarded:?}");
        }
        for forwarded in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:443"] {
            assert!(
                client("[::1]:4000", &[forwarded]) == Client::at("2001:db8::1".parse().unwrap())
            );
        }
    }

    #[test]
    fn who_is_no_proxy_of_ours_is_not_asked_who_he_forwards_for() {
        assert!(client("203.0.113.9:1", &["203.0.113.11"]) == v4("203.0.113.9"));
        assert!(client("203.0.113.9:1", &[]) == v4("203.0.113.9"));
    }

    #[test]
    fn garbage_ends_the_walk_at_the_last_hop_we_believe() {
        for garbage in ["unknown", "", "_hidden", "203.0.113.7.5", "[::1", "fe80::1%eth0", "é"] {
            let line = format!("203.0.113.11, {garbage}, 203.0.113.131");
            assert!(client("127.0.0.1:1", &[&line]) == v4("203.0.113.131"), "{garbage}");
        }
        assert!(client("127.0.0.1:1", &["203.0.113.11,"]) == v4("127.0.0.1"));
        assert!(client("127.0.0.1:1", &[]) == v4("127.0.0.1"));
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_a_request_from_nowhere_is_one_client() {
        let at = |text: &str| Client::at(text.parse().unwrap());
        assert!(at("2001:db8:0:1::1") == at("2001:db8:0:1:ffff::2"));
        assert!(at("2001:db8:0:1::1") != at("2001:db8:0:2::1"));
        assert!(Client::of(None, &HeaderMap::new(), &[]) == Client::Unknown);
        assert_eq!(format!("{:?}", v4("203.0.113.7")), "Client");
    }
}
