//! Two instances start beside the list of a predecessor that is still being written, and one of them dies.

use redis::AsyncCommands;
use serde_json::Value;
use sqlx::PgPool;

use crate::world::{World, until};

const LIST: &str = "dlq:outbound";
const LETTERS: &str = "dealix:dlq:{outbound}:2:letters";
const DEAD: &str = "dealix:dlq:{outbound}:2:dead";

/// How many entries there are before anybody starts.
const OLD: u64 = 2_000;

fn entry(number: u64) -> String {
    format!(
        r#"{{"id":"00ff","source":"worker","payload":{{"n":{number}}},"error":"x","attempts":3}}"#
    )
}

/// Every entry becomes one letter.
pub async fn an_old_list(db: PgPool, step: &'static str) {
    let old: Vec<_> = (0..OLD).map(|number| (LIST, entry(number))).collect();
    let world = World::new_after(db, &[step], &[], &old).await;
    let mut redis = world.connection();
    let mut written = OLD;
    let (other, ()) = tokio::join!(world.another(), async {
        while world.service.deaths() == 0 || written < OLD + 100 {
            let () = redis.lpush(LIST, entry(written)).await.unwrap();
            written += 1;
        }
    });
    let mut redis = world.connection();
    until("every entry is taken over", async || {
        // In this order: what moves in between is counted in neither.
        let letters: u64 = redis.hlen(LETTERS).await.unwrap();
        let left: u64 = redis.llen(LIST).await.unwrap();
        assert!(letters + left <= written, "{letters} and {left} of {written}");
        (left == 0).then_some(())
    })
    .await;
    world.until_dead().await;
    let letters: Vec<String> = redis.hvals(LETTERS).await.unwrap();
    let number = |letter: &String| {
        let letter: Value = serde_json::from_str(letter).unwrap();
        let body: Value =
            serde_json::from_str(letter["payload"]["body"].as_str().unwrap()).unwrap();
        body["n"].as_u64().unwrap()
    };
    let mut numbers: Vec<_> = letters.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..written).collect::<Vec<_>>());
    assert_eq!(redis.zcard::<_, u64>(DEAD).await.unwrap(), written);
    other.end().await;
    world.end().await;
}
