//! Picks a few top-level members out of a JSON object as it streams by, holding nothing else of it: a body
//! of any size costs the memory of the members wanted.

use super::name_table::NameTable;

/// What to do with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Keep its value, as text.
    Value,
    /// Count the elements of its array, keep nothing.
    Count,
}

/// A member by its name.
pub(crate) type Wanted = (&'static str, Take);

/// The members that are wanted.
pub(super) type WantedMembers = NameTable<Take>;

/// Longest name of a member that can be wanted.
const MAX_NAME_BYTES: usize = 40;

/// Room for the values of most texts that have any.
const USUAL_KEPT_BYTES: usize = 256;

/// Room for as many members.
const USUAL_MEMBERS: usize = 4;

/// Follows one JSON text from chunk to chunk. It never fails: of a text that is no JSON object it finds no
/// members.
#[derive(Debug)]
pub(crate) struct JsonMembers {
    wanted: &'static WantedMembers,
    limit: usize,
    /// The values kept, one after the other.
    kept: Vec<u8>,
    found: Vec<Found>,
    /// A bit for each length of a name among them: most that is asked for is not there.
    lengths_found: u64,
    overflowed: bool,
    has_twins: bool,
    has_escaped_names: bool,
    depth: u32,
    complete: bool,
    within: Within,
    /// The next string at depth 1 is a name.
    expects_name: bool,
    is_object: bool,
    name: [u8; MAX_NAME_BYTES],
    name_length: usize,
    taking: Option<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Structure,
    Text { escaped: bool, is_name: bool },
}

#[derive(Clone, Copy, Debug)]
struct Found {
    wanted: Wanted,
    start: usize,
    end: usize,
    /// Elements that were followed by a comma.
    commas: u64,
    any_element: bool,
    /// Elements, or the value itself, that are null or an empty text.
    blanks: u64,
    /// The text at hand has no bytes so far.
    in_blank_text: bool,
}

impl JsonMembers {
    /// Keeps at most `limit` bytes of values.
    pub(crate) fn new(wanted: &'static WantedMembers, limit: usize) -> Self {
        Self {
            wanted,
            limit,
            kept: Vec::new(),
            found: Vec::new(),
            lengths_found: 0,
            overflowed: false,
            has_twins: false,
            has_escaped_names: false,
            depth: 0,
            complete: false,
            within: Within::Structure,
            expects_name: false,
            is_object: false,
            name: [0; MAX_NAME_BYTES],
            name_length: 0,
            taking: None,
        }
    }

    /// The members of a text that is at hand whole.
    pub(crate) fn of(wanted: &'static WantedMembers, text: &[u8]) -> Self {
        let mut members = Self::new(wanted, text.len());
        members.feed(text);
        members
    }

    /// Whether the text was an object or array and has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the text goes on: something was opened that is not closed.
    pub(crate) fn is_broken_off(&self) -> bool {
        !self.complete && (self.depth > 0 || self.within != Within::Structure)
    }

    /// Whether a wanted value was dropped because of the limit.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether a wanted member stood there twice: who reads it may take the earlier or the later.
    pub(crate) fn has_twins(&self) -> bool {
        self.has_twins
    }

    /// Whether a name at the top stood there with an escape: it may be that of a wanted member, whom it was not taken for.
    pub(crate) fn has_escaped_names(&self) -> bool {
        self.has_escaped_names
    }

    /// The value of a member, once it is whole; of twins the later.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.find(name, Take::Value)?;
        self.kept.get(found.start..found.end)
    }

    /// How many elements the array of a member has, once it is whole; 0 for what is no array.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        let found = self.find(name, Take::Count)?;
        Some(found.commas + u64::from(found.any_element))
    }

    /// As [`Self::count`], of elements that are neither null nor an empty text.
    pub(crate) fn count_held(&self, name: &str) -> Option<u64> {
        let blanks = self.find(name, Take::Count)?.blanks;
        Some(self.count(name)?.saturating_sub(blanks))
    }

    /// Whether a counted member has a value that is neither null nor an empty text.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.find(name, Take::Count).is_some_and(|found| found.any_element || found.blanks == 0)
    }

    fn find(&self, name: &str, take: Take) -> Option<&Found> {
        if self.lengths_found & length_bit(name) == 0 {
            return None;
        }
        self.found.iter().rev().find(|found| found.wanted == (name, take))
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() && !self.complete {
            chunk = match self.within {
                Within::Text { escaped, is_name } => self.read_text(chunk, escaped, is_name),
                Within::Structure if self.depth > self.floor() => self.read_below_floor(chunk),
                Within::Structure => self.read_structure(chunk),
            };
        }
    }

    /// The depth below which commas and colons say nothing.
    fn floor(&self) -> u32 {
        match self.taking {
            Some(Found { wanted: (_, Take::Count), .. }) => 2,
            _ => 1,
        }
    }

    /// Reads on until the floor is reached, at one go: only brackets and the ends of strings matter.
    fn read_below_floor<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let (floor, mut depth, mut at) = (self.floor(), self.depth, 0);
        while let Some(token) = chunk.get(at) {
            at += 1;
            match token {
                b'"' => {
                    (at, self.within) = after_text(chunk, at);
                    if self.within != Within::Structure {
                        break;
                    }
                }
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => {
                    depth -= 1;
                    if depth == floor {
                        break;
                    }
                }
                _ => {}
            }
        }
        self.depth = depth;
        let (read, rest) = chunk.split_at_checked(at).unwrap_or((chunk, &[]));
        self.keep(read);
        rest
    }

    fn read_text<'a>(&mut self, chunk: &'a [u8], escaped: bool, is_name: bool) -> &'a [u8] {
        if escaped {
            self.within = Within::Text { escaped: false, is_name };
            return self.pass(chunk, 1, is_name);
        }
        match memchr::memchr2(b'"', b'\\', chunk) {
            None => self.pass(chunk, chunk.len(), is_name),
            Some(at) if chunk.get(at) == Some(&b'"') => {
                self.pass(chunk, at, is_name);
                self.end_text();
                self.within = Within::Structure;
                self.keep(b"\"");
                chunk.get(at + 1..).unwrap_or_default()
            }
            Some(at) => {
                self.within = Within::Text { escaped: true, is_name };
                self.has_escaped_names |= is_name;
                self.pass(chunk, at + 1, is_name)
            }
        }
    }

    /// Passes over bytes of a string.
    fn pass<'a>(&mut self, chunk: &'a [u8], length: usize, is_name: bool) -> &'a [u8] {
        let (passed, rest) = chunk.split_at_checked(length).unwrap_or((chunk, &[]));
        if is_name {
            let end = self.name_length + passed.len();
            if let Some(space) = self.name.get_mut(self.name_length..end) {
                space.copy_from_slice(passed);
            }
            // A name too long for the space is none that is wanted: the length tells.
            self.name_length = end;
        } else {
            if let Some(found) = &mut self.taking {
                found.in_blank_text &= passed.is_empty();
            }
            self.keep(passed);
        }
        rest
    }

    fn end_text(&mut self) {
        if let Some(found) = &mut self.taking {
            found.blanks += u64::from(std::mem::take(&mut found.in_blank_text));
        }
    }

    fn read_structure<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let is_token = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':');
        let Some(at) = chunk.iter().position(is_token) else {
            self.pass_plain(chunk);
            return &[];
        };
        let (plain, rest) = chunk.split_at_checked(at).unwrap_or((chunk, &[]));
        self.pass_plain(plain);
        let Some((&token, rest)) = rest.split_first() else { return &[] };
        match token {
            b'"' => self.begin_text(),
            b'{' | b'[' => self.open(token),
            b'}' | b']' => self.close(token),
            b',' => self.comma(),
            _ => self.colon(),
        }
        rest
    }

    /// Numbers, literals, white space.
    fn pass_plain(&mut self, plain: &[u8]) {
        if self.taking.is_some() {
            if !plain.iter().all(u8::is_ascii_whitespace) {
                self.note_element();
            }
            if plain.trim_ascii_start().first() == Some(&b'n') {
                self.note_blank(false);
            }
            // White space around a value may be of any length, and says nothing.
            self.keep(plain.trim_ascii());
        }
    }

    fn begin_text(&mut self) {
        let is_name = self.depth == 1 && self.expects_name;
        self.within = Within::Text { escaped: false, is_name };
        if is_name {
            self.expects_name = false;
            self.name_length = 0;
        } else {
            self.note_element();
            self.note_blank(true);
            self.keep(b"\"");
        }
    }

    /// A null, or the beginning of a text that may turn out empty, where elements are counted.
    fn note_blank(&mut self, is_text: bool) {
        if let (1 | 2, Some(found)) = (self.depth, &mut self.taking) {
            found.in_blank_text = is_text;
            found.blanks += u64::from(!is_text);
        }
    }

    fn open(&mut self, token: u8) {
        self.note_element();
        self.keep(&[token]);
        self.depth = self.depth.saturating_add(1);
        if self.depth == 1 {
            self.is_object = token == b'{';
            self.expects_name = self.is_object;
        }
    }

    fn close(&mut self, token: u8) {
        if self.depth <= 1 {
            self.end_member();
            self.complete = true;
            return;
        }
        self.depth -= 1;
        self.keep(&[token]);
    }

    fn comma(&mut self) {
        match (self.depth, &mut self.taking) {
            (1, _) => {
                self.end_member();
                self.expects_name = self.is_object;
                return;
            }
            (2, Some(found)) => found.commas += 1,
            _ => {}
        }
        self.keep(b",");
    }

    fn colon(&mut self) {
        if self.depth != 1 || self.taking.is_some() {
            self.keep(b":");
            return;
        }
        let name = self.name.get(..self.name_length).unwrap_or_default();
        let wanted = self.wanted.find(name).filter(|_| self.is_object);
        if wanted.is_some() && self.found.capacity() == 0 {
            self.kept = Vec::with_capacity(USUAL_KEPT_BYTES.min(self.limit));
            self.found = Vec::with_capacity(USUAL_MEMBERS);
        }
        self.taking = wanted.map(|&wanted| {
            let start = self.kept.len();
            Found {
                wanted,
                start,
                end: start,
                commas: 0,
                any_element: false,
                blanks: 0,
                in_blank_text: false,
            }
        });
    }

    fn note_element(&mut self) {
        if let (2, Some(found)) = (self.depth, &mut self.taking) {
            found.any_element = true;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(Found { wanted: (_, Take::Value), start, .. }) = self.taking else { return };
        if self.kept.len() + bytes.len() > self.limit {
            self.kept.truncate(start);
            self.taking = None;
            self.overflowed = true;
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn end_member(&mut self) {
        if let Some(mut found) = self.taking.take() {
            found.end = self.kept.len();
            let count = self.found.len();
            self.found.retain(|twin| twin.wanted != found.wanted);
            self.has_twins |= self.found.len() < count;
            self.lengths_found |= length_bit(found.wanted.0);
            self.found.push(found);
        }
    }
}

fn length_bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}

/// Where the string ends whose rest begins at this place, and what the text is within then.
fn after_text(text: &[u8], mut at: usize) -> (usize, Within) {
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text.get(at - 1) == Some(&b'"') {
            return (at, Within::Structure);
        }
        if at == text.len() {
            return (at, Within::Text { escaped: true, is_name: false });
        }
        at += 1;
    }
    (text.len(), Within::Text { escaped: false, is_name: false })
}

#[cfg(test)]
#[path = "json_members_tests.rs"]
mod tests;
