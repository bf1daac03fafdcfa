//! Which files a configuration is made of: one file, or the YAML files of a directory in name order, and
//! what they include.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Place};
use super::section::variable_name;
use super::tree::{Node, NodeValue};

/// Largest configuration file. YAML takes some hundred bytes of memory for one of its own.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Files of one configuration at the most.
const MAX_FILES: usize = 256;

/// How deep files may include files.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Reads a file or a directory, and merges everything into one tree. A tree comes back also with faults, so
/// that the settings that could be read are judged too.
pub(super) fn read(path: &Path) -> (Node, Vec<Fault>) {
    let mut reading = Reading {
        merged: Node::empty(Place::file(&path.display().to_string())),
        faults: Vec::new(),
        seen: BTreeSet::new(),
    };
    if path.is_dir() {
        let files = reading.files_of_directory(path);
        if files.is_empty() && reading.faults.is_empty() {
            reading
                .fault(&Place::file(&path.display().to_string()), "has no file that ends in .yaml or .yml");
        }
        files
            .iter()
            .for_each(|file| reading.file(file, &Place::file(&file.display().to_string()), &mut vec![]));
    } else {
        reading.file(path, &Place::file(&path.display().to_string()), &mut vec![]);
    }
    (reading.merged, reading.faults)
}

struct Reading {
    merged: Node,
    faults: Vec<Fault>,
    seen: BTreeSet<PathBuf>,
}

impl Reading {
    fn fault(&mut self, place: &Place, problem: impl Into<String>) {
        self.faults.push(Fault { place: place.clone(), problem: problem.into() });
    }

    /// The directory's own YAML files by name; hidden ones and subdirectories are left out.
    fn files_of_directory(&mut self, directory: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                let place = Place::file(&directory.display().to_string());
                self.fault(&place, format!("cannot be read: {error}"));
                return Vec::new();
            }
        };
        let is_config = |path: &PathBuf| {
            let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
            is_yaml && !is_hidden && !path.is_dir()
        };
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_config).collect();
        files.sort();
        files
    }

    /// Reads one file and what it includes; `by` is where it was asked for, `above` the files that led here.
    /// A file that is reached twice counts once.
    fn file(&mut self, path: &Path, by: &Place, above: &mut Vec<PathBuf>) {
        let identity = match path.canonicalize() {
            Ok(identity) => identity,
            Err(error) if by.path.is_empty() => return self.fault(by, format!("cannot be read: {error}")),
            Err(error) => {
                let problem =
                    format!("{} cannot be read: {error}; add it or remove this include", path.display());
                return self.fault(by, problem);
            }
        };
        if above.contains(&identity) {
            return self.fault(by, format!("includes {} in a circle; remove this include", path.display()));
        }
        if above.len() >= MAX_INCLUDE_DEPTH || self.seen.len() >= MAX_FILES {
            let limit = format!("more than {MAX_INCLUDE_DEPTH} files deep or {MAX_FILES} files in all");
            return self.fault(by, format!("includes {limit}"));
        }
        if !self.seen.insert(identity.clone()) {
            return;
        }
        let file = path.display().to_string();
        let node = match read_text(path).map_err(|problem| Fault { place: Place::file(&file), problem }) {
            Ok(text) => Node::parse(&file, &text),
            Err(fault) => Err(fault),
        };
        let mut node = match node {
            Ok(node) => node,
            Err(fault) => return self.faults.push(fault),
        };
        let includes = self.take_includes(&mut node);
        self.merged.merge(node, &mut self.faults);
        above.push(identity);
        let directory = path.parent().unwrap_or(Path::new(""));
        for (place, include) in includes {
            self.file(&directory.join(include), &place, above);
        }
        above.pop();
    }

    /// Takes `include:` out of a document: a file name or a list of them.
    fn take_includes(&mut self, document: &mut Node) -> Vec<(Place, String)> {
        let NodeValue::Map(map) = &mut document.value else { return Vec::new() };
        let nodes = match map.remove("include") {
            None => Vec::new(),
            Some(Node { value: NodeValue::List(nodes), .. }) => nodes,
            Some(node) => vec![node],
        };
        let mut includes = Vec::new();
        for node in nodes {
            match &node.value {
                NodeValue::Null => {}
                NodeValue::Scalar(scalar @ super::tree::Scalar::Text(name))
                    if variable_name(scalar).is_none() =>
                {
                    includes.push((node.place, name.clone()));
                }
                _ => {
                    self.fault(
                        &node.place,
                        "expected the name of a file, relative to the one that includes it",
                    );
                }
            }
        }
        includes
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {} MiB; split it into several files", MAX_FILE_BYTES >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}
