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
