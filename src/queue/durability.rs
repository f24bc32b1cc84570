//! Whether what Redis acknowledges survives its crash.

use std::collections::HashMap;

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
    /// It stops waiting for the disk while it rewrites its log.
    NoFsyncOnRewrite,
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
            Self::NoFsyncOnRewrite => "no_appendfsync_on_rewrite",
            Self::AofWriteFailed => "aof_write_failed",
            Self::Evicts => "maxmemory_policy_evicts",
            Self::Unconfirmed => "fsync_unconfirmed",
        }
    }
}

/// How long a confirmation is waited for.
const CONFIRM_MS: u32 = 200;

/// What [`ask`] is answered.
pub(super) type Answers = (RedisResult<InfoDict>, RedisResult<Settings>);

/// Its settings that we may read.
type Settings = HashMap<String, String>;

/// Adds the questions to what is asked anyway, so that the answers hold for that very moment.
pub(super) fn ask(questions: &mut Pipeline) {
    questions.cmd("INFO").cmd("CONFIG").arg("GET").arg("*appendfsync*");
}

/// What the answers mean. Where they leave it open, the last write of this link is to be confirmed.
pub(super) async fn judge(link: &Link, (info, fsync): Answers) -> RedisResult<Durability> {
    let info = info?;
    let fsync = match fsync {
        Err(error) if is_refusal(&error) => None,
        answer => Some(answer?).filter(|settings| !settings.is_empty()),
    };
    let mut flaws = flaws(&info, fsync.as_ref());
    if fsync.is_some() {
        return Ok(if flaws.is_empty() { Durability::Always } else { Durability::Not(flaws) });
    }
    if !flaws.contains(&Flaw::AofOff) && !confirms(link).await? {
        flaws.push(Flaw::Unconfirmed);
    }
    Ok(if flaws.is_empty() { Durability::Confirmable } else { Durability::Not(flaws) })
}

/// What speaks against it in what it tells everybody, and in its settings if we may read them.
fn flaws(info: &InfoDict, settings: Option<&Settings>) -> Vec<Flaw> {
    let says = |key: &str, value: &str| info.get::<String>(key).is_some_and(|said| said == value);
    let has_log = says("aof_enabled", "1");
    let is_set = |key: &str, value: &str| {
        settings.is_none_or(|all| all.get(key).is_some_and(|set| set == value))
    };
    let findings = [
        (Flaw::NotMaster, !says("role", "master")),
        (Flaw::AofOff, !has_log),
        (Flaw::FsyncNotAlways, has_log && !is_set("appendfsync", "always")),
        (Flaw::NoFsyncOnRewrite, has_log && !is_set("no-appendfsync-on-rewrite", "no")),
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

    fn flaws_with(from: &str, to: &str, settings: Option<(&str, &str)>) -> Vec<Flaw> {
        assert!(SOUND.contains(from));
        let settings = settings.map(|(appendfsync, on_rewrite)| {
            [("appendfsync", appendfsync), ("no-appendfsync-on-rewrite", on_rewrite)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        });
        flaws(&InfoDict::new(&SOUND.replace(from, to)), settings.as_ref())
    }

    #[test]
    fn a_sound_server_has_no_flaw() {
        assert_eq!(flaws_with("", "", Some(("always", "no"))), []);
        assert_eq!(flaws_with("", "", None), []);
    }

    #[test]
    fn each_flaw_is_found_and_named() {
        let sound = ("always", "no");
        let cases = [
            ("role:master", "role:slave", sound, Flaw::NotMaster, "not_master"),
            ("aof_enabled:1", "aof_enabled:0", sound, Flaw::AofOff, "aof_off"),
            ("aof_enabled:1", "aof_enabled:0", ("everysec", "yes"), Flaw::AofOff, "aof_off"),
            ("", "", ("everysec", "no"), Flaw::FsyncNotAlways, "appendfsync_not_always"),
            ("", "", ("always", "yes"), Flaw::NoFsyncOnRewrite, "no_appendfsync_on_rewrite"),
            ("status:ok", "status:err", sound, Flaw::AofWriteFailed, "aof_write_failed"),
            ("noeviction", "allkeys-lru", sound, Flaw::Evicts, "maxmemory_policy_evicts"),
        ];
        for (from, to, settings, flaw, name) in cases {
            assert_eq!(flaws_with(from, to, Some(settings)), [flaw]);
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
