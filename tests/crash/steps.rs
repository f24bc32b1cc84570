//! The list of steps comes from the code: what has no test is seen here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CALL: &str = "faults::step(";

/// The names of the steps in a text; `Err` with what stands where a name should.
fn steps_in(text: &str) -> Vec<Result<String, String>> {
    let calls = text.split(CALL).skip(1);
    calls
        .map(|after| {
            let name = after.strip_prefix('"').and_then(|rest| rest.split_once("\")"));
            match name {
                Some((name, _)) => Ok(name.to_owned()),
                None => Err(after.chars().take(30).collect()),
            }
        })
        .collect()
}

fn steps_of_the_code() -> Vec<String> {
    let mut steps = Vec::new();
    walk(Path::new("src"), &mut |file, text| {
        for step in steps_in(text) {
            steps.push(
                step.unwrap_or_else(|odd| panic!("{}: no plain name: {odd}", file.display())),
            );
        }
    });
    steps
}

#[test]
fn every_step_of_the_code_has_a_test_and_every_test_a_step() {
    let steps = steps_of_the_code();
    let unique: BTreeSet<_> = steps.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), steps.len(), "a name stands at two places: {steps:?}");
    let tested: BTreeSet<_> = crate::TESTED.iter().copied().collect();
    let without_test: Vec<_> = unique.difference(&tested).collect();
    let without_step: Vec<_> = tested.difference(&unique).collect();
    assert!(
        without_test.is_empty() && without_step.is_empty(),
        "steps without a test: {without_test:?}; tests without a step: {without_step:?}"
    );
}

#[test]
fn a_step_is_seen_however_it_is_written() {
    let text = "
        faults::step(\"one\");
        crate::faults::step(\"two\");
        if is_so { faults::step(\"three\") }
        faults::step(name);
    ";
    let found = steps_in(text);
    let names: Vec<_> = found.iter().flatten().collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert!(found[3].is_err());
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// What makes something durable: the end of a transaction, and every write to the queue.
const WRITES: &[&str] = &[
    ".commit()",
    "letters.push(",
    "letters.take_over(",
    "letters.rebuild(",
    "letters.push_dead(",
    "letters.take(",
    "letters.take_these(",
    "letters.take_waiting(",
    "letters.take_matching(",
    "letters.settle(",
    "letters.delete(",
    "letters.restore(",
    "letters.restore_page(",
    "letters.edit(",
    "letters.pause(",
    "letters.resume(",
    "letters.tidy(",
];

/// The names of the functions in a text that write and name no step.
fn writes_without_step(text: &str) -> Vec<String> {
    // What the tests of a file do is nobody's work.
    let code = text.split("#[cfg(test)]").next().unwrap();
    let starts: Vec<_> = code.match_indices("fn ").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([code.len()]);
    let functions = starts.iter().zip(ends).map(|(from, to)| &code[*from..to]);
    functions
        .filter(|function| WRITES.iter().any(|write| function.contains(write)))
        .filter(|function| !function.contains(CALL))
        .map(|function| function[3..].split(['(', '<']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_commit_and_every_write_to_the_queue_has_a_step_beside_it() {
    let mut without = Vec::new();
    for room in ["src/flows", "src/jobs", "src/http", "src/commands"] {
        walk(Path::new(room), &mut |file, text| {
            let found = writes_without_step(text).into_iter();
            without.extend(found.map(|name| format!("{}: {name}", file.display())));
        });
    }
    assert!(without.is_empty(), "writes without a step beside them: {without:#?}");
}

#[test]
fn a_write_without_a_step_is_seen() {
    let text = "
        async fn one() { tx.commit().await }
        pub async fn two<T>(it: T) { self.letters.push(it).await }
        fn three() { faults::step(\"x\"); tx.commit().await }
        fn four() { nothing() }
        #[cfg(test)]
        fn five() { tx.commit() }
    ";
    assert_eq!(writes_without_step(text), ["one", "two"]);
}
