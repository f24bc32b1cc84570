//! How many connections the system lets us have: every one is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no clients: the stores, the services we call, the log.
const RESERVED: u64 = 256;

/// Raises the number of files we may open as far as the system allows, and answers how many
/// connections that leaves, up to `wanted`. Were there no bound, clients could take the files that
/// Postgres needs.
pub fn room_for_connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = if raised.is_ok() { maximum } else { current };
    let room = within(wanted, allowed);
    if room < wanted {
        tracing::warn!(wanted, room, "The limit of open files leaves room for {room} connections");
    }
    room
}

/// At least one, or nobody could be served.
fn within(wanted: usize, allowed: Option<u64>) -> usize {
    let room = allowed.map_or(u64::MAX, |allowed| allowed.saturating_sub(RESERVED).max(1));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_rest_of_the_process_does_not_need() {
        assert_eq!(within(10_000, None), 10_000);
        assert_eq!(within(10_000, Some(65_536)), 10_000);
        assert_eq!(within(10_000, Some(1_024)), 768);
        assert_eq!(within(10_000, Some(100)), 1);
        assert!(room_for_connections(2) == 2);
    }
}
