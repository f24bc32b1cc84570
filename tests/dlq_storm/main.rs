//! Dead letters in a storm: four instances drain and redrive one queue and are killed in the middle of it,
//! two hundred times, while Redis freezes, restarts, forgets its scripts and runs out of memory. After each
//! kill every letter is done or still there; in the end each was recorded exactly once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a step that fails should fail the test"
)]

mod books;
#[path = "../crash/door.rs"]
mod door;
#[path = "../api/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod proxy;
#[path = "../api/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod redis_server;
#[path = "../crash/service.rs"]
mod service;
mod world;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use sqlx::PgPool;

use crate::world::World;

/// How often a process dies, all instances together.
const KILLS: usize = 200;

/// The longest that one is left alone with its orders.
const MIDDLE: Duration = Duration::from_secs(2);

/// How many letters there are at least whenever an instance is told to work.
const SUPPLY: usize = 600;

/// Repeated to draw the same lots again; when something happens is up to the machine.
const SEED: u64 = 20_261_121;

#[sqlx::test(migrations = "./migrations")]
async fn two_hundred_kills_in_the_middle_of_the_work_lose_and_double_no_letter(db: PgPool) {
    println!("seed {SEED}");
    let mut world = World::start(db).await;
    world.pause().await;
    world.owe_stored(300).await;
    let kills = AtomicUsize::new(0);
    let (shared, redis, weather) = world.parts();
    let storm = join_all((0..4_u64).map(|number| {
        let kills = &kills;
        async move {
            let mut random = fastrand::Rng::with_seed(SEED + number);
            let instance = &shared.instances[usize::try_from(number).unwrap()];
            while kills.fetch_add(1, Ordering::Relaxed) < KILLS {
                instance.until_up().await;
                shared.owe(SUPPLY).await;
                let moment = MIDDLE.mul_f64(random.f64());
                let orders = async {
                    // One order after the other until it dies.
                    loop {
                        let answer = if random.bool() {
                            shared.drain(instance, random.usize(20..=100)).await
                        } else {
                            shared.redrive(instance).await
                        };
                        if answer.is_none() {
                            return;
                        }
                    }
                };
                let kill = async {
                    tokio::time::sleep(moment).await;
                    instance.kill().await;
                };
                // Who is killed between two orders is up again for the next one.
                if let Either::Left(((), kill)) = select(pin!(orders), pin!(kill)).await {
                    kill.await;
                }
                shared.nothing_is_lost().await;
            }
        }
    }));
    let is_over = AtomicBool::new(false);
    let storm = async {
        storm.await;
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(storm, weather.rage(redis, SEED, &is_over));
    let died: usize = shared.instances.iter().map(service::Service::deaths).sum();
    let done = shared.done().await;
    let [redrives, redriven] = shared.redrives().await;
    println!(
        "{died} kills, {done} letters done meanwhile, {redriven} of them by {redrives} redrives at least"
    );
    assert_eq!(died, KILLS);
    assert!(done > 0, "nothing was done in the storm");
    assert!(redriven > 0, "no redrive came to anything in the storm");
    shared.drain_to_the_end().await;
    shared.hold_the_books().await;
    world.end().await;
}
