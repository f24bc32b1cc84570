//! A Redis in trouble: out of memory, without its scripts, no longer the master.

use dealix::queue::{Change, Filter, Letter, PushError, Pushed, Reach, Verdict};
use redis::Connection;

use crate::redis_server::{DURABLE, RedisServer};
use crate::world::{LEASE, QUEUE, World, at, ids, letter, noon};

fn tell(raw: &mut Connection, words: &[&str]) {
    let (command, arguments) = words.split_first().unwrap();
    let () = redis::cmd(command).arg(arguments).query(raw).unwrap();
}

#[tokio::test]
async fn out_of_memory_nothing_enters_and_everything_moves() {
    let server = RedisServer::start(DURABLE).await;
    let mut world = World::at(&server.url(""));
    world.push_all(&["a", "b", "c", "d", "e", "f"]).await;
    world.letters.push_dead(QUEUE, &letter("dead", 9), at(9)).await.unwrap();
    world.push(&Letter { next_attempt_at: at(60), ..letter("later", 9) }).await;
    tell(&mut world.raw, &["config", "set", "maxmemory", "1"]);

    for id in ["a", "new"] {
        let refused = world.letters.push(QUEUE, &letter(id, 10), at(10)).await.unwrap_err();
        assert!(matches!(refused, PushError::Full), "{refused}");
    }
    let edited = world.letters.edit(QUEUE, "f", "{}", at(10)).await.unwrap_err();
    assert_eq!(edited.code(), Some("OOM"));
    world.audit();

    let letters = &world.letters;
    // What is due moves by itself.
    let taken = letters.take(QUEUE, at(60), LEASE, 5).await.unwrap();
    assert_eq!(ids(&taken), ["a", "b", "c", "d", "e"]);
    let held: Vec<_> = taken.iter().collect();
    let long = Letter { error: "x".repeat(5_000), ..letter("b", 1) };
    let verdicts = [
        (held[0], Verdict::Done),
        (held[1], Verdict::Back { letter: Some(&long), due_at: at(500) }),
        (held[2], Verdict::Dead { letter: None }),
    ];
    assert_eq!(letters.settle(QUEUE, at(60), &verdicts).await.unwrap(), [true; 3]);
    let one = |id: &str| vec![id.to_owned()];
    assert_eq!(letters.delete(QUEUE, &one("f"), "ops", at(60)).await.unwrap(), [Change::Done]);
    assert_eq!(letters.restore(QUEUE, &one("f"), at(60)).await.unwrap(), [Change::Done]);
    let again = letters.take_these(QUEUE, &one("dead"), Reach::AlsoDead, at(60), LEASE).await;
    assert_eq!(ids(&again.unwrap().in_hand), ["dead"]);
    // Leases end.
    let page = letters.page_ids(QUEUE, &Filter::default(), None, 99, at(200)).await.unwrap();
    assert_eq!(page.items, ["b", "c", "d", "e", "f", "dead", "later"]);
    assert_eq!(world.counts(at(200)).await, [4, 1, 0, 2]);
    world.audit();

    tell(&mut world.raw, &["config", "set", "maxmemory", "0"]);
    let pushed = world.letters.push(QUEUE, &letter("new", 10), at(200)).await.unwrap();
    assert_eq!(pushed, Pushed::New);
    world.audit();
}

#[tokio::test]
async fn scripts_that_are_forgotten_are_sent_again() {
    let server = RedisServer::start(DURABLE).await;
    let mut world = World::at(&server.url(""));
    world.push(&letter("a", 0)).await;
    tell(&mut world.raw, &["script", "flush"]);
    let held = world.take_one(noon()).await;
    tell(&mut world.raw, &["script", "flush"]);
    assert!(world.settle(&held, Verdict::Done, noon()).await);
    tell(&mut world.raw, &["script", "flush"]);
    world.push(&letter("b", 1)).await;
    world.audit();
}

#[tokio::test]
async fn a_redis_that_is_a_copy_now_refuses_and_is_looked_for_anew() {
    let server = RedisServer::start(DURABLE).await;
    let mut world = World::at(&server.url(""));
    world.push(&letter("a", 0)).await;
    let connections = |world: &mut World| -> u64 {
        let info: redis::InfoDict = redis::cmd("INFO").query(&mut world.raw).unwrap();
        info.get("total_connections_received").unwrap()
    };
    tell(&mut world.raw, &["replicaof", "127.0.0.1", "1"]);
    let refused = world.letters.push(QUEUE, &letter("b", 1), at(1)).await.unwrap_err();
    assert!(
        matches!(&refused, PushError::Redis(error) if error.code() == Some("READONLY")),
        "{refused}"
    );
    let refused = world.letters.take(QUEUE, at(1), LEASE, 1).await.err().unwrap();
    assert_eq!(refused.code(), Some("READONLY"));
    tell(&mut world.raw, &["replicaof", "no", "one"]);
    let before = connections(&mut world);
    world.push(&letter("b", 1)).await;
    assert_eq!(world.take(at(1), 9).await.len(), 2);
    // Behind the same name there may be another server by now.
    assert_eq!(connections(&mut world), before + 2);
    world.audit();
}
