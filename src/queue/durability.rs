//! Whether what Redis acknowledges survives its crash.

use redis::{ErrorKind, InfoDict, Pipeline, RedisError, RedisResult, ServerErrorKind};

use super::link::Link;

/// What an acknowledgement of Redis is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Every write is on disk before it is acknowledged.
    Always,
    /// We may not read its settings, but a write can be confirmed with `WAITAOF`.
    Confirmable,
    /// What it acknowledges may be lost, and why.
    Not(Vec<Flaw>),
}

/// One reason why an acknowledged write may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// It is a copy, which a failover may cut off.
    NotMaster,
    /// It writes no log of commands.
    AofOff,
    /// It writes one, but acknowledges before the disk did.
    FsyncNotAlways,
    /// Its last write to the log failed.
    AofWriteFailed,
    /// Out of memory, it throws keys away.
    Evicts,
    /// We may not read whether it waits for the disk, and it does not confirm a write either.
    Unconfirmed,
}

impl Flaw {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotMaster => "not_master",
            Self::AofOff => "aof_off",
            Self::FsyncNotAlways => "appendfsync_not_always",
            Self::AofWriteFailed => "aof_write_failed",
            Self::Evicts => "maxmemory_policy_evicts",
            Self::Unconfirmed => "fsync_unconfirmed",
        }
    }
}

/// How long a confirmation is waited for.
const CONFIRM_MS: u32 = 200;

/// What [`ask`] is answered.
pub(super) type Answers = (RedisResult<InfoDict>, RedisResult<(String, String)>);

/// Adds the questions to what is asked anyway, so that the answers hold for that very moment.
pub(super) fn ask(questions: &mut Pipeline) {
    questions.cmd("INFO").cmd("CONFIG").arg("GET").arg("appendfsync");
}

/// What the answers mean. Where they leave it open, the last write of this link is to be confirmed.
pub(super) async fn judge(link: &Link, (info, fsync): Answers) -> RedisResult<Durability> {
    let info = info?;
    let fsync = match fsync {
        Err(error) if is_refusal(&error) => None,
        answer => Some(answer?.1),
    };
    let mut flaws = flaws(&info, fsync.as_deref());
    if fsync.is_some() {
        return Ok(if flaws.is_empty() { Durability::Always } else { Durability::Not(flaws) });
    }
    if !flaws.contains(&Flaw::AofOff) && !confirms(link).await? {
        flaws.push(Flaw::Unconfirmed);
    }
    Ok(if flaws.is_empty() { Durability::Confirmable } else { Durability::Not(flaws) })
}

/// What speaks against it in what it tells everybody, and in its setting if we may read that.
fn flaws(info: &InfoDict, appendfsync: Option<&str>) -> Vec<Flaw> {
    let says = |key: &str, value: &str| info.get::<String>(key).is_some_and(|said| said == value);
    let has_log = says("aof_enabled", "1");
    let findings = [
        (Flaw::NotMaster, !says("role", "master")),
        (Flaw::AofOff, !has_log),
        (Flaw::FsyncNotAlways, has_log && appendfsync.is_some_and(|fsync| fsync != "always")),
        (Flaw::AofWriteFailed, has_log && !says("aof_last_write_status", "ok")),
        (Flaw::Evicts, !says("maxmemory_policy", "noeviction")),
    ];
    findings.into_iter().filter(|(_, is_so)| *is_so).map(|(flaw, _)| flaw).collect()
}

/// Whether the log of this very server is on disk up to our last write. Older servers do not know
/// the question, which is an answer too.
async fn confirms(link: &Link) -> RedisResult<bool> {
    let mut wait = redis::cmd("WAITAOF");
    match link.ask::<(u32, u32)>(wait.arg(1).arg(0).arg(CONFIRM_MS)).await {
        Err(error) if is_refusal(&error) => Ok(false),
        answer => Ok(answer?.0 >= 1),
    }
}

/// Whether the server is well but does not let us, or does not know the command.
fn is_refusal(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "role:master\r\naof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\n";

    fn flaws_with(from: &str, to: &str, appendfsync: Option<&str>) -> Vec<Flaw> {
        assert!(SOUND.contains(from));
        flaws(&InfoDict::new(&SOUND.replace(from, to)), appendfsync)
    }

    #[test]
    fn a_sound_server_has_no_flaw() {
        assert_eq!(flaws_with("", "", Some("always")), []);
        assert_eq!(flaws_with("", "", None), []);
    }

    #[test]
    fn each_flaw_is_found_and_named() {
        let cases = [
            ("role:master", "role:slave", "always", Flaw::NotMaster, "not_master"),
            ("aof_enabled:1", "aof_enabled:0", "always", Flaw::AofOff, "aof_off"),
            ("aof_enabled:1", "aof_enabled:0", "everysec", Flaw::AofOff, "aof_off"),
            ("", "", "everysec", Flaw::FsyncNotAlways, "appendfsync_not_always"),
            ("status:ok", "status:err", "always", Flaw::AofWriteFailed, "aof_write_failed"),
            ("noeviction", "allkeys-lru", "always", Flaw::Evicts, "maxmemory_policy_evicts"),
        ];
        for (from, to, appendfsync, flaw, name) in cases {
            assert_eq!(flaws_with(from, to, Some(appendfsync)), [flaw]);
            assert_eq!(flaw.name(), name);
        }
        assert_eq!(Flaw::Unconfirmed.name(), "fsync_unconfirmed");
    }

    #[test]
    fn a_server_that_tells_nothing_is_not_trusted() {
        let flaws = flaws(&InfoDict::new(""), None);
        assert_eq!(flaws, [Flaw::NotMaster, Flaw::AofOff, Flaw::Evicts]);
    }
}
