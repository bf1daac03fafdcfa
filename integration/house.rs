//! Holds the house to its plan: which rooms may know which, and what stays inside an actor's file.

#![expect(clippy::unwrap_used, reason = "a test file: helpers may fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn source_files() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 50, "the sources are not where they should be");
    found
}

/// The code of a file without its comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name == "tests" || name.ends_with("_tests")
}

/// `src/route/balance.rs` → `route/balance`.
fn name_of(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.with_extension("").to_str().unwrap().to_owned()
}

fn room_of(name: &str) -> &str {
    name.split('/').next().unwrap()
}

/// The rooms whose names stand behind `crate::` in a text.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.match_indices("crate::").map(|(at, found)| word(&code[at + found.len()..])).collect()
}

fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in source_files().iter().filter(|path| !is_test_file(path)) {
        let name = name_of(path);
        let room = room_of(&name).to_owned();
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let mut rooms = rooms_used(&code(path));
        rooms.remove(&room);
        uses.entry(room).or_default().extend(rooms.into_iter().filter(|room| !room.is_empty()));
    }
    uses
}

#[test]
fn no_two_rooms_need_each_other() {
    let uses = uses();
    fn visit<'u>(
        room: &'u str,
        uses: &'u BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'u str>,
        done: &mut BTreeSet<&'u str>,
    ) {
        assert!(!way.contains(&room), "a circle of rooms: {way:?} → {room}");
        if !done.contains(room) {
            way.push(room);
            for next in uses.get(room).into_iter().flatten() {
                visit(next, uses, way, done);
            }
            way.pop();
            done.insert(room);
        }
    }
    let mut done = BTreeSet::new();
    for room in uses.keys() {
        visit(room, &uses, &mut Vec::new(), &mut done);
    }
    assert!(done.len() > 15);
}

#[test]
fn a_step_never_knows_the_front_door_and_actors_never_each_other() {
    let uses = uses();
    for (room, used) in &uses {
        let wires = matches!(room.as_str(), "startup" | "cli" | "http");
        assert!(wires || !used.contains("http"), "{room} imports http");
        assert!(wires || !used.contains("startup"), "{room} imports startup");
    }
    for (room, others) in
        [("route", ["sign", "ledger"]), ("sign", ["route", "ledger"]), ("ledger", ["route", "sign"])]
    {
        for other in others {
            assert!(!uses[room].contains(other), "{room} imports {other}");
        }
    }
    assert_eq!(uses["simulator"], BTreeSet::new(), "the simulator shares nothing with the gateway");
}

#[test]
fn pure_parts_know_no_framework() {
    let is_pure = |name: &str| {
        matches!(room_of(name), "pricing" | "usage" | "operation")
            || name.ends_with("/batch")
            || name.ends_with("/balance")
            || name.ends_with("/sigv4")
            || matches!(name, "sign/canonical" | "auth/sigv4_inbound" | "auth/vault")
            || name == "http1/framing"
    };
    let mut seen = 0;
    for path in source_files().iter().filter(|path| is_pure(&name_of(path)) && !is_test_file(path)) {
        seen += 1;
        let code = code(path);
        for framework in ["actix", "awc::", "diesel", "tokio::"] {
            assert!(!code.contains(framework), "{} uses {framework}", path.display());
        }
    }
    assert!(seen >= 20, "only {seen} pure files were found");
}

#[test]
fn an_address_never_leaves_the_file_of_its_actor() {
    let mut actors = Vec::new();
    for path in source_files().iter().filter(|path| !is_test_file(path)) {
        let code = code(path);
        if code.contains("Addr<") {
            actors.push(name_of(path));
            assert!(!code.contains("pub fn addr") && !code.contains("pub addr"), "{}", path.display());
        }
    }
    actors.sort();
    assert_eq!(actors, ["ledger", "route", "sign"]);
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    for path in source_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
