//! The arrows of ARCHITECTURE.md, checked: which room may name which.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what cannot be read should fail the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A room or root file of `src/`, and what it may name besides itself.
///
/// Only what calls out reads its own section of `config`; everything else is told by `app`.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("db", &["domain"]),
    ("queue", &["domain", "clock"]),
    ("clients", &["domain", "config", "clock"]),
    (
        "flows",
        &["domain", "db", "clients", "queue", "clock", "wake", "tasks", "migrations", "faults"],
    ),
    (
        "http",
        &["flows", "domain", "db", "queue", "app", "access", "clock", "wake", "tasks", "telemetry"],
    ),
    (
        "jobs",
        &[
            "flows",
            "domain",
            "db",
            "clients",
            "queue",
            "clock",
            "wake",
            "tasks",
            "telemetry",
            "faults",
        ],
    ),
    // The arrows of http, and what it takes to start the service.
    (
        "commands",
        &[
            "flows",
            "domain",
            "db",
            "queue",
            "app",
            "access",
            "clock",
            "wake",
            "tasks",
            "telemetry",
            "config",
            "http",
            "migrations",
        ],
    ),
    ("config", &[]),
    ("telemetry", &["config", "clients"]),
    ("access", &["config"]),
    ("migrations", &["db"]),
    ("clock", &[]),
    ("tasks", &[]),
    ("wake", &[]),
    ("faults", &[]),
];

/// Names everything: they put the house together.
const UNBOUND: &[&str] = &["app", "lib", "main"];

#[test]
fn imports_follow_the_arrows() {
    let mut wrong = Vec::new();
    let mut files = 0;
    walk(Path::new("src"), &mut |file| {
        files += 1;
        let path = file.strip_prefix("src").unwrap().with_extension("");
        let modules: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        let text = fs::read_to_string(file).unwrap();
        wrong.extend(
            against_the_arrows(&modules, &text).map(|it| format!("{}: {it}", file.display())),
        );
    });
    assert!(files > 20, "only {files} files were found");
    assert!(wrong.is_empty(), "against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_forbidden_is_seen_in_every_way_it_can_be_written() {
    for (file, text) in [
        ("db/deals", "use crate::flows::pay;"),
        ("db/deals", "use crate::{domain::deal, flows};"),
        (
            "db/deals",
            "use crate::{\n    domain::{deal, money},\n    clients::moyasar::{self, Moyasar},\n};",
        ),
        ("db/deals", "use\n    crate::flows;"),
        ("db/deals", "pub(crate) use crate :: flows;"),
        ("db/deals", "fn f() { crate::flows::pay() }"),
        ("db/deals", "fn f() -> Result<crate::flows::Paid, ()> {}"),
        ("db/deals", "use super::super::flows;"),
        ("db/deals", "use super::super::{domain, flows::pay};"),
        ("db/mod", "use super::flows;"),
        ("db/deals/lock", "use super::super::super::flows;"),
        ("db/deals/mod", "fn f() { super::super::flows::pay() }"),
        ("http/admin/deals", "use crate::clients::moyasar;"),
        ("domain/deal", "use crate::clock::Clock;"),
        ("domain/deal", "#[cfg(test)]\nmod tests {\n    use crate::db;\n}"),
        ("newroom/deal", "use crate::db;"),
    ] {
        assert_eq!(against_the_arrows(&modules(file), text).count(), 1, "{file}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    for (file, text) in [
        ("db/deals", "use crate::domain::deal::{Deal, flows};"),
        ("db/deals", "use crate::{db, domain};"),
        ("db/deals", "use super::payments;"),
        ("db/deals/lock", "use super::super::payments;"),
        ("db/deals", "mod tests {\n    use super::*;\n}"),
        ("db/deals", "// use crate::flows;\n/// See crate::flows.\n/* crate::flows */"),
        ("db/deals", "const TEXT: &str = \"crate::flows\";"),
        ("db/deals", "use other_crate::flows;"),
        ("http/deals", "use crate::flows::pay;\nuse crate::app::AppState;"),
        ("app", "use crate::clients;"),
    ] {
        let found: Vec<_> = against_the_arrows(&modules(file), text).collect();
        assert!(found.is_empty(), "{file}: {text}: {found:?}");
    }
}

/// Who calls out without a breaker: nobody depends on them, and a breaker's own errors and alerts must
/// not need one.
const WITHOUT_BREAKER: [&str; 2] = ["src/clients/alerts.rs", "src/clients/sentry.rs"];

#[test]
fn every_client_goes_through_the_one_registry_of_breakers() {
    let mut clients = BTreeSet::new();
    let mut wrong = Vec::new();
    walk(Path::new("src"), &mut |file| {
        let name = file.display().to_string();
        let text = fs::read_to_string(file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let is_test = name.ends_with("/tests.rs");
        if is_test || WITHOUT_BREAKER.contains(&name.as_str()) {
            return;
        }
        if text.contains("http_client(") && name != "src/clients/mod.rs" {
            if !text.contains("breaker: Arc<Breaker>,") {
                wrong.push(format!("{name} builds a client without a breaker"));
            }
            let module = name.trim_start_matches("src/clients/").trim_end_matches("/mod.rs");
            clients.insert(module.trim_end_matches(".rs").to_owned());
        }
        for function in text.split("fn ").skip(1) {
            let sends = function.contains("exchange::send(") || function.contains(".send().await");
            let is_exchange = name == "src/clients/exchange.rs";
            if sends && !is_exchange && !function.contains("breaker.call(") {
                wrong.push(format!("{name} sends outside of its breaker: fn {function}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let app = fs::read_to_string("src/app.rs").unwrap();
    let mut registered = BTreeSet::new();
    for call in app.split("breakers.add(").skip(1) {
        registered.insert(call.split("::CLIENT").next().unwrap().to_owned());
    }
    assert_eq!(clients, registered, "every client has its breaker in the registry");
    assert!(clients.len() >= 2, "{clients:?}");
}

#[test]
fn no_lock_is_held_across_an_await() {
    let settings = fs::read_to_string("Cargo.toml").unwrap();
    assert!(settings.contains("\nawait_holding_lock = \"deny\"\n"), "the lint that sees it is on");
    let mut excused = Vec::new();
    walk(Path::new("src"), &mut |file| {
        if fs::read_to_string(file).unwrap().contains("await_holding_lock") {
            excused.push(file.display().to_string());
        }
    });
    assert!(excused.is_empty(), "excused from it: {excused:?}");
}

fn modules(file: &str) -> Vec<&str> {
    file.split('/').collect()
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path);
        }
    }
}

/// The rooms that a file names although no arrow leads there.
fn against_the_arrows(modules: &[&str], text: &str) -> impl Iterator<Item = String> {
    let room = modules[0];
    let arrows = ARROWS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, to)| *to);
    let is_unbound = UNBOUND.contains(&room);
    let named = rooms_named(modules, text);
    named
        .into_iter()
        .filter(move |named| !is_unbound && named != room && !arrows.contains(&named.as_str()))
}

/// Every child of the crate's root that a path in `text` leads to.
fn rooms_named(modules: &[&str], text: &str) -> BTreeSet<String> {
    // `a/mod.rs` is the module `a`, `a/b.rs` the module `a::b`: so many `super` lead to the root.
    let depth = modules.len() - usize::from(modules.last() == Some(&"mod"));
    let words = words(text);
    let mut rooms = BTreeSet::new();
    for at in 0..words.len() {
        // A path that continues another one (`other::super`) does not start here.
        if at > 0 && words[at - 1] == "::" {
            continue;
        }
        let after = match words[at].as_str() {
            "crate" => at + 1,
            "super" => {
                let supers = words[at..].chunks(2).take_while(|it| it[0] == "super");
                let supers = supers.count();
                // Inside of `mod tests { … }` one more is needed: then this finds a file's own names,
                // which are no rooms.
                if supers < depth {
                    continue;
                }
                at + supers * 2 - 1
            }
            _ => continue,
        };
        if words.get(after).is_some_and(|word| word == "::") {
            first_of_each(&words[after + 1..], &mut rooms);
        }
    }
    rooms
        .retain(|name| ARROWS.iter().any(|(room, _)| room == name) || is_room_without_arrows(name));
    rooms
}

/// The first word of a path, or of each path in braces.
fn first_of_each(words: &[String], rooms: &mut BTreeSet<String>) {
    if words.first().is_none_or(|word| word != "{") {
        rooms.extend(words.first().cloned());
        return;
    }
    let (mut depth, mut starts) = (0, false);
    for word in words {
        match word.as_str() {
            "{" => {
                depth += 1;
                starts = depth == 1;
            }
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "," => starts = depth == 1,
            name if starts => {
                rooms.insert(name.to_owned());
                starts = false;
            }
            _ => (),
        }
    }
}

/// `app` may be named only along an arrow, although it has none of its own.
fn is_room_without_arrows(name: &str) -> bool {
    UNBOUND.contains(&name)
}

/// Names and punctuation, without comments and texts.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            text_length(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
            let end = end.unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else if rest.starts_with("'\"'") {
            3
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// How long the text is that starts with a quotation mark.
fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}
