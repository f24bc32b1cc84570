//! Rebuilds when a migration changes (the `migrate!` macro does not notice by itself), refuses two
//! migrations of one version, and records which commit is being built.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a build script reads the environment and fails the build by panicking"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=DEALIX_COMMIT");
    refuse_twin_versions();
    println!("cargo:rustc-env=DEALIX_COMMIT={}", commit());
}

/// Two files of one version and direction would leave the order of the schema to chance.
fn refuse_twin_versions() {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir("migrations").expect("the folder migrations exists") {
        let name =
            entry.expect("a readable folder").file_name().into_string().expect("UTF-8 names");
        let version = name.split('_').next().unwrap_or_default().to_owned();
        let key = (version, name.ends_with(".down.sql"));
        if let Some(twin) = seen.insert(key, name.clone()) {
            panic!("two migrations have one version: {twin} and {name}");
        }
    }
}

/// The commit from the environment (an archive has no history), else from git, else `unknown`.
fn commit() -> String {
    env::var("DEALIX_COMMIT").ok().filter(|commit| !commit.is_empty()).unwrap_or_else(|| {
        println!("cargo:rerun-if-changed=.git/HEAD");
        println!("cargo:rerun-if-changed=.git/logs/HEAD");
        let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned())
    })
}
