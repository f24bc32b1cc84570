//! Redis's own benchmark, put to the very scripts that the service puts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use tokio::process::Command;

use crate::bed::Bed;
use crate::operations::Operation;

/// The script that an operation puts, word by word, as it arrives at Redis.
pub async fn words_of(bed: &Bed, operation: Operation, at: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    // So that Redis knows it by its digest.
    operation.run(bed, at).await?;
    let monitor = redis::Client::open(bed.url.as_str())?.get_async_monitor().await?;
    operation.run(bed, at).await?;
    let mut seen = monitor.into_on_message::<String>();
    while let Some(line) = seen.next().await {
        let words = line.split_once("] ").map(|(_, words)| unquote(words)).transpose()?;
        if let Some(words) = words.filter(|words| is_script(words)) {
            return Ok(words);
        }
    }
    bail!("the monitor saw no script")
}

fn is_script(words: &[Vec<u8>]) -> bool {
    words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"evalsha"))
}

/// The words of a line of the monitor, each in quotes, with whatever is not plain written as an escape.
fn unquote(line: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let (mut words, mut word) = (Vec::new(), None::<Vec<u8>>);
    let mut letters = line.bytes();
    while let Some(letter) = letters.next() {
        match (letter, &mut word) {
            (b'"', None) => word = Some(Vec::new()),
            (b'"', Some(_)) => words.extend(word.take()),
            (b'\\', Some(word)) => {
                word.push(match letters.next().context("an escape of nothing")? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'x' => {
                        let digits =
                            [letters.next(), letters.next()].map(Option::unwrap_or_default);
                        u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?
                    }
                    plain => plain,
                });
            }
            (letter, Some(word)) => word.push(letter),
            (_, None) => (),
        }
    }
    Ok(words)
}

/// How many milliseconds each of so many calls took that were made one after the other.
#[expect(clippy::disallowed_methods, reason = "the script says where the tools of Redis are")]
pub async fn redis_benchmark(bed: &Bed, words: &[Vec<u8>], calls: u32) -> anyhow::Result<f64> {
    let folder = std::env::var("BENCH_REDIS_BIN").context("start it with script/bench --dlq")?;
    let mut benchmark = Command::new(Path::new(&folder).join("redis-benchmark"));
    benchmark.args(["--csv", "-c", "1", "-n", &calls.to_string(), "-s", &bed.socket]);
    let output = benchmark.args(words.iter().map(|word| OsStr::from_bytes(word))).output().await?;
    ensure!(
        output.status.success(),
        "redis-benchmark: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout);
    // Behind the name, which is the script's words: rate, average, least, median, p95, p99, most.
    let mut columns = said.trim().rsplit(',');
    let rate = columns.nth(6).context("redis-benchmark said less than expected")?;
    Ok(1e3 / rate.trim_matches('"').parse::<f64>()?)
}
