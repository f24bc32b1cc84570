//! The machine that something was measured on.

use std::fs;

/// The machine in a line, without its name.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let gib =
        memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!("{cores} cores ({model}), {gib} GiB, {}", std::env::consts::OS)
}
