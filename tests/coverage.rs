//! docs/contract-coverage.md tells the truth: every row names tests, and every test that it names
//! exists. What the tests themselves show is not looked at here.

#![expect(clippy::unwrap_used, reason = "what cannot be read should fail the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/contract-coverage.md";

/// Where tests are.
const SOURCES: [&str; 3] = ["src", "tests", "sandbox/tests"];

/// The heading under which the rows stand that nobody has built yet: they name no test.
const NEXT: &str = "## Next";

#[test]
fn every_row_names_tests_that_exist() {
    let mut tests = BTreeSet::new();
    for folder in SOURCES {
        walk(Path::new(folder), &mut |text| tests.extend(tests_in(text)));
    }
    assert!(tests.len() > 200, "only {} tests were found", tests.len());
    let page = fs::read_to_string(PAGE).unwrap();
    let rows = rows(&page);
    assert!(rows.len() > 100, "only {} rows were found", rows.len());
    let wrong: Vec<_> = rows.iter().filter_map(|row| complaint(row, &tests)).collect();
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_without_a_test_and_a_name_without_a_test_are_seen() {
    let tests = BTreeSet::from(["it_works".to_owned(), "it_fails_well".to_owned()]);
    let page = "\
        # Title\n\nWords with `code`.\n\n| What | Shown by |\n|---|---|\n\
        | It works with `x\\|y` | `it_works`, `it_fails_well` |\n\
        | Nobody shows this | |\n\
        | Nor this | `it_sings` |\n\n\
        ## Next\n\n| What | Why |\n|---|---|\n| Later | not built |\n";
    let rows = rows(page);
    assert_eq!(rows.len(), 3);
    assert_eq!(complaint(rows[0], &tests), None);
    assert!(complaint(rows[1], &tests).is_some_and(|it| it.contains("names no test")));
    assert!(complaint(rows[2], &tests).is_some_and(|it| it.contains("it_sings")));
}

#[test]
fn only_functions_that_a_runner_calls_are_tests() {
    let text = "
        fn helper() {}
        #[test]
        fn plain() {}
        #[tokio::test(start_paused = true)]
        async fn paused() {}
        #[sqlx::test(migrations = \"./migrations\")]
        #[expect(clippy::unwrap_used, reason = \"a reason\")]
        async fn stored(db: PgPool) {}
        #[cfg(test)]
        mod tests {}
        async fn another_helper() {}
    ";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), ["plain", "paused", "stored"]);
}

fn walk(folder: &Path, visit: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The names of the functions that carry the attribute of a test.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        let is_attribute =
            ["#[test]", "#[tokio::test", "#[sqlx::test"].iter().any(|it| line.starts_with(it));
        is_test |= is_attribute;
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?.split('(').next()?;
        std::mem::take(&mut is_test).then(|| name.to_owned())
    })
}

/// The rows of every table above the heading of what comes next, without heads and rulers.
fn rows(page: &str) -> Vec<&str> {
    let page = page.split(NEXT).next().unwrap_or_default();
    let lines: Vec<_> = page.lines().map(str::trim).collect();
    let is_row = |line: &str| line.starts_with('|') && !line.starts_with("|---");
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|---"));
    let numbered = lines.iter().enumerate();
    numbered.filter(|(at, line)| is_row(line) && !is_head(*at)).map(|(_, line)| *line).collect()
}

/// What is wrong with a row.
fn complaint(row: &str, tests: &BTreeSet<String>) -> Option<String> {
    let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
    let last = cells.last().copied().unwrap_or_default();
    // What stands between every other pair of backticks.
    let names: Vec<_> = last.split('`').skip(1).step_by(2).collect();
    if cells.len() < 2 || names.is_empty() {
        return Some(format!("names no test: {row}"));
    }
    let unknown: Vec<_> = names.into_iter().filter(|name| !tests.contains(*name)).collect();
    (!unknown.is_empty()).then(|| format!("no test is called {}: {row}", unknown.join(", ")))
}
