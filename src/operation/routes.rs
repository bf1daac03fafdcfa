//! Finds operations by path: a tree of path segments for each method, built once from the table.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use super::table::{OPERATIONS, label, segment_bit, segments};
use super::{Operation, PathModel, RequestLine, Unresolved};
use crate::domain::mask_keys;

/// How much of a method or a path an error repeats, in characters.
const MAX_ECHO_CHARS: usize = 200;

/// The methods of the table.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes::of(&OPERATIONS));

/// The operations whose templates fit a path: mostly one, at most three (the same path in several services).
#[derive(Clone, Copy)]
pub(super) struct Found {
    operations: &'static [&'static Operation],
    /// The segments that hold an encoded slash.
    slashes: u32,
}

impl Found {
    /// Those whose labels may hold the slashes that the path has there.
    pub(super) fn operations(self) -> impl Iterator<Item = &'static Operation> + Clone {
        self.operations.iter().copied().filter(move |operation| self.slashes & !operation.slash_segments == 0)
    }
}

/// The awsJson operation that `x-amz-target` names.
pub(super) fn by_target(request: &RequestLine<'_>) -> Option<&'static Operation> {
    let target = request.amz_target.filter(|_| request.method == "POST")?;
    ROUTES.with_target.iter().copied().find(|operation| operation.target == Some(target))
}

/// The operation whose path ends in its verb and names the model before it, slashes and all.
pub(super) fn by_model_path<'p>(method: &str, path: &'p str) -> Option<(&'static Operation, PathModel<'p>)> {
    let fits = |route: &ModelRoute| {
        let raw = path.strip_prefix(route.before)?.strip_suffix(route.after)?;
        let is_name = route.operation.method == method && !raw.split('/').any(str::is_empty);
        let start = route.before.len();
        is_name.then(|| (route.operation, PathModel { raw, start, end: start + raw.len() }))
    };
    ROUTES.with_model.iter().find_map(fits)
}

/// The operations whose template fits the path; a literal segment is preferred to a label.
pub(super) fn by_path(method: &str, path: &str) -> Option<Found> {
    let tree = METHODS.iter().position(|one| *one == method)?;
    let node = ROUTES.trees.get(tree)?;
    node.find(path.strip_prefix('/')?, 0, 0)
}

/// Whether a path would be known with a slash more or less at its end.
pub(super) fn is_known_but_for_a_slash(request: &RequestLine<'_>) -> bool {
    let known = |path: &str| {
        let native = format!("/openai{path}");
        by_model_path(request.method, path).is_some()
            || [path, &native].iter().any(|path| by_path(request.method, path).is_some())
    };
    match request.path.strip_suffix('/') {
        Some("") => false,
        Some(path) => known(path),
        None => known(&format!("{}/", request.path)),
    }
}

/// Says why a request has no operation, and what would have one.
pub(super) fn explain(request: &RequestLine<'_>) -> Unresolved {
    let known =
        |method: &str, path: &str| by_model_path(method, path).is_some() || by_path(method, path).is_some();
    let other_methods: Vec<_> = METHODS.into_iter().filter(|method| known(method, request.path)).collect();
    let path = if request.path.is_empty() { "(none)" } else { request.path };
    let with_slash = format!("{}/", request.path);
    let without_slash = request.path.strip_suffix('/');
    let hint = if matches!(request.path, "" | "/") {
        "a POST to the bare address takes an x-amz-target of AmazonBedrockKeystoneRuntimeService".to_owned()
    } else if known(request.method, &with_slash) {
        "it takes a trailing slash".to_owned()
    } else if without_slash.is_some_and(|path| known(request.method, path)) {
        "it takes no trailing slash".to_owned()
    } else if !other_methods.is_empty() {
        format!("this path takes {}", other_methods.join(", "))
    } else if path.contains("arn:") {
        "an ARN in a path takes %2F for each of its slashes".to_owned()
    } else {
        "check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API"
            .to_owned()
    };
    Unresolved::NoSuchOperation { method: echo(request.method), path: echo(path), hint }
}

/// A text as an error may repeat it: short, and nothing but visible ASCII.
fn echo(text: &str) -> String {
    let visible = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let text = mask_keys(text);
    let shown: String = text.chars().take(MAX_ECHO_CHARS).map(visible).collect();
    if text.chars().nth(MAX_ECHO_CHARS).is_some() { shown + "…" } else { shown }
}

struct Routes {
    trees: Vec<Node>,
    with_model: Vec<ModelRoute>,
    with_target: Vec<&'static Operation>,
}

struct ModelRoute {
    /// What stands before the model's name, as in `/model/`.
    before: &'static str,
    /// What stands after it, as in `/converse`.
    after: &'static str,
    operation: &'static Operation,
}

impl Routes {
    fn of(operations: &'static [Operation]) -> Self {
        let mut routes = Self {
            trees: METHODS.iter().map(|_| Node::default()).collect(),
            with_model: Vec::new(),
            with_target: Vec::new(),
        };
        for operation in operations {
            if operation.target.is_some() {
                routes.with_target.push(operation);
            } else if let Some(route) = ModelRoute::of(operation) {
                routes.with_model.push(route);
            } else if let Some(tree) = METHODS.iter().position(|method| *method == operation.method)
                && let Some(root) = routes.trees.get_mut(tree)
            {
                root.insert(segments(operation.uri), operation);
            }
        }
        routes
    }
}

impl ModelRoute {
    fn of(operation: &'static Operation) -> Option<Self> {
        let (before, rest) = operation.uri.split_once('{')?;
        let (label, after) = rest.split_once('}')?;
        (operation.model_label == Some(label)).then_some(Self { before, after, operation })
    }
}

/// One segment of the paths of a method.
#[derive(Default)]
struct Node {
    /// Sorted by name.
    literals: Vec<(&'static str, Node)>,
    label: Option<Box<Node>>,
    /// The operations whose template ends here.
    operations: Vec<&'static Operation>,
}

impl Node {
    fn insert(&mut self, mut template: std::str::Split<'static, char>, operation: &'static Operation) {
        let Some(segment) = template.next() else {
            self.operations.push(operation);
            return;
        };
        if label(segment).is_some() {
            self.label.get_or_insert_default().insert(template, operation);
            return;
        }
        let place = match self.literals.binary_search_by_key(&segment, |(name, _)| name) {
            Ok(place) => place,
            Err(place) => {
                self.literals.insert(place, (segment, Self::default()));
                place
            }
        };
        if let Some((_, node)) = self.literals.get_mut(place) {
            node.insert(template, operation);
        }
    }

    /// Recursion is as deep as the longest template.
    fn find(&'static self, path: &str, index: usize, slashes: u32) -> Option<Found> {
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        let go_on = |node: &'static Self, slashes| match rest {
            Some(rest) => node.find(rest, index + 1, slashes),
            None => (!node.operations.is_empty()).then_some(Found { operations: &node.operations, slashes }),
        };
        let literal = self.literals.binary_search_by_key(&segment, |(name, _)| name).ok();
        let by_literal =
            literal.and_then(|place| self.literals.get(place)).and_then(|(_, node)| go_on(node, slashes));
        if by_literal.is_some() || segment.is_empty() || self.is_literal_in_disguise(segment) {
            return by_literal;
        }
        let slash = if holds_encoded_slash(segment) { segment_bit(index) } else { 0 };
        self.label.as_deref().and_then(|node| go_on(node, slashes | slash))
    }
}

impl Node {
    /// Whether a segment is one of the literals here to whoever decodes it, and so no label's value.
    fn is_literal_in_disguise(&self, segment: &str) -> bool {
        let is_encoded = memchr::memchr(b'%', segment.as_bytes()).is_some();
        is_encoded && self.literals.iter().any(|(name, _)| percent_decode_str(segment).eq(name.bytes()))
    }
}

/// `%2F`, or `%252F`, which is one for whoever decodes twice.
fn holds_encoded_slash(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    memchr::memchr(b'%', bytes).is_some()
        && bytes.windows(3).any(|three| matches!(three, [b'%' | b'5', b'2', b'f' | b'F']))
}
