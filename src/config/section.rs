//! Reading settings out of the tree: typed, with `os.environ/NAME` resolved, every fault and every unused
//! key noted on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::environment::Environment;
use super::fault::{Fault, Place};
use super::restrictions::{self, NotInForce};
use super::setting::Setting;
use super::suggest::nearest;
use super::tree::{Node, NodeValue, Scalar};
use crate::domain::Region;

/// What marks a text as the name of an environment variable.
const ENVIRONMENT_PREFIX: &str = "os.environ/";

/// Settings of LiteLLM that bedgate does not use and that look like a slip of one it does.
const OF_LITELLM: [&str; 1] = ["callbacks"];

/// What reading a configuration gathers beside its settings.
pub(super) struct Context {
    pub(super) environment: Environment,
    pub(super) faults: Vec<Fault>,
    pub(super) ignored: Vec<String>,
    pub(super) not_in_force: Vec<NotInForce>,
    /// Prices that lost digits, and what they count as.
    pub(super) rounded: Vec<String>,
    /// Regions of entries whose host AWS must have.
    pub(super) regions: Vec<(Place, Region)>,
    /// Every key that was looked for, in full (`router_settings.timeout`), for the test of `config/`.
    pub(super) asked: BTreeSet<String>,
}

impl Context {
    pub(super) fn new(environment: Environment) -> Self {
        Self {
            environment,
            faults: Vec::new(),
            ignored: Vec::new(),
            not_in_force: Vec::new(),
            rounded: Vec::new(),
            regions: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    pub(super) fn fault(&mut self, place: &Place, problem: impl Into<String>) {
        self.faults.push(Fault { place: place.clone(), problem: problem.into() });
    }

    pub(super) fn ignore(&mut self, what: impl Into<String>) {
        self.ignored.push(what.into());
    }

    /// Notes a setting that restricts in LiteLLM and not here.
    pub(super) fn not_in_force(&mut self, place: &Place, instead: &'static str) {
        match self.not_in_force.iter_mut().find(|noted| noted.instead == instead) {
            Some(noted) => noted.places.push(place.to_string()),
            None => self.not_in_force.push(NotInForce { places: vec![place.to_string()], instead }),
        }
    }

    /// Reads one value; nothing where it is absent, or wrong (then the fault is noted). An empty text counts
    /// as absent, unless it came from a variable that the configuration names.
    pub(super) fn read<T: Setting>(&mut self, node: &Node) -> Option<T> {
        let NodeValue::Scalar(scalar) = &node.value else {
            if !matches!(node.value, NodeValue::Null) {
                self.fault(&node.place, format!("expected {}, found {}", T::EXPECTED, node.kind()));
            }
            return None;
        };
        let Some(name) = variable_name(scalar) else {
            let is_blank = matches!(scalar, Scalar::Text(text) if text.is_empty());
            return if is_blank { None } else { self.parsed(&node.place, scalar, true) };
        };
        let problem = match self.environment.get(name) {
            Some("") => "is set but empty",
            Some(value) => {
                let value = Scalar::Text(value.to_owned());
                return self.parsed(&node.place, &value, false);
            }
            None => "is not set",
        };
        self.fault(
            &node.place,
            format!("the environment variable {name} {problem}; set it or remove this key"),
        );
        None
    }

    /// Reads an environment variable; an empty one counts as absent.
    pub(super) fn variable<T: Setting>(&mut self, name: &str) -> Option<T> {
        let value = Scalar::Text(self.environment.filled(name)?.to_owned());
        self.parsed(&Place::variable(name), &value, true)
    }

    fn parsed<T: Setting>(&mut self, place: &Place, scalar: &Scalar, may_show: bool) -> Option<T> {
        let parsed = T::parse(scalar);
        if parsed.is_none() {
            let found = match scalar {
                Scalar::Bool(flag) => format!(", found {flag}"),
                Scalar::Number(text) | Scalar::Text(text) if may_show && !T::HIDDEN => {
                    format!(", found {:?}", text.chars().take(80).collect::<String>())
                }
                _ => String::new(),
            };
            self.fault(place, format!("expected {}{found}", T::EXPECTED));
        }
        parsed
    }

    /// The elements of a list; a single value counts as a list of one.
    pub(super) fn elements<'t>(&mut self, node: Option<&'t Node>) -> Vec<&'t Node> {
        match node.map(|node| (&node.value, node)) {
            None | Some((NodeValue::Null, _)) => Vec::new(),
            Some((NodeValue::List(nodes), _)) => nodes.iter().collect(),
            Some((_, node)) => vec![node],
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, node: Option<&Node>) -> Vec<String> {
        self.elements(node).into_iter().filter_map(|element| self.read(element)).collect()
    }
}

/// The variable that `os.environ/NAME` names.
pub(super) fn variable_name(scalar: &Scalar) -> Option<&str> {
    match scalar {
        Scalar::Text(text) => text.strip_prefix(ENVIRONMENT_PREFIX),
        _ => None,
    }
}

/// A map of settings: each key is taken once, what is left over is refused or ignored.
pub(super) struct Section<'t> {
    pub(super) place: Place,
    name: String,
    rest: BTreeMap<&'t str, &'t Node>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// Opens a map; an absent one is empty. `name` is the section's path in the documentation.
    pub(super) fn open(node: Option<&'t Node>, place: Place, name: &str, ctx: &mut Context) -> Self {
        let rest = match node.map(|node| (&node.value, node)) {
            None | Some((NodeValue::Null, _)) => BTreeMap::new(),
            Some((NodeValue::Map(map), _)) => map.iter().map(|(key, node)| (key.as_str(), node)).collect(),
            Some((_, node)) => {
                ctx.fault(&node.place, format!("expected a map of settings, found {}", node.kind()));
                BTreeMap::new()
            }
        };
        let place = node.map_or(place, |node| node.place.clone());
        Self { place, name: name.to_owned(), rest, asked: Vec::new() }
    }

    /// Opens the map under a key.
    pub(super) fn section(&mut self, key: &'static str, ctx: &mut Context) -> Section<'t> {
        let node = self.take(key, ctx);
        let name = self.full_name(key);
        Section::open(node, self.place.key(key), &name, ctx)
    }

    /// Whether something is written under a key that was not taken yet.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.rest.get(key).is_some_and(|node| !node.is_blank())
    }

    /// The node under a key, also a null one.
    pub(super) fn take(&mut self, key: &'static str, ctx: &mut Context) -> Option<&'t Node> {
        self.asked.push(key);
        ctx.asked.insert(self.full_name(key));
        self.rest.remove(key)
    }

    /// The setting under a key.
    pub(super) fn get<T: Setting>(&mut self, key: &'static str, ctx: &mut Context) -> Option<T> {
        let node = self.take(key, ctx)?;
        ctx.read(node)
    }

    /// Takes what is under every key that fits.
    pub(super) fn take_where(&mut self, fits: impl Fn(&str, &Node) -> bool) -> Vec<(&'t str, &'t Node)> {
        let taken: Vec<_> =
            self.rest.iter().map(|(key, node)| (*key, *node)).filter(|(key, node)| fits(key, node)).collect();
        for (key, _) in &taken {
            self.rest.remove(key);
        }
        taken
    }

    /// Puts settings from elsewhere under the keys that are not set here.
    pub(super) fn fill_from(&mut self, map: &'t BTreeMap<String, Node>) {
        for (key, node) in map {
            self.rest.entry(key.as_str()).or_insert(node);
        }
    }

    /// Takes out the keys that restrict in LiteLLM and not here, and notes them.
    pub(super) fn note_restrictions(&mut self, ctx: &mut Context) {
        let name = &self.name;
        self.rest.retain(|key, node| match restrictions::instead_of(name, key, node) {
            Some(instead) => {
                ctx.not_in_force(&node.place, instead);
                false
            }
            None => true,
        });
    }

    /// Keys that are left and may be taken as settings of another's making: named in the warning, with a hint
    /// where one looks like a slip. A slip that `is_grave` is a fault: ignored, it would change who may call,
    /// or as whom bedgate calls, or what may be spent.
    pub(super) fn ignore_rest(mut self, ctx: &mut Context, is_grave: impl Fn(&str) -> bool) {
        self.note_restrictions(ctx);
        for (key, node) in self.rest {
            let known = self.asked.iter().copied().filter(|_| !OF_LITELLM.contains(&key));
            match nearest(key, known) {
                Some(meant) if is_grave(meant) => {
                    ctx.fault(&node.place, format!("is not a known setting; did you mean {meant}?"));
                }
                Some(meant) => ctx.ignore(format!("{} (did you mean {meant}?)", node.place)),
                None => ctx.ignore(node.place.to_string()),
            }
        }
    }

    /// Keys that are left are faults.
    pub(super) fn refuse_rest(self, ctx: &mut Context) {
        for (key, node) in self.rest {
            let hint = match nearest(key, self.asked.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("the settings here are {}", self.asked.join(", ")),
            };
            ctx.fault(&node.place, format!("is not a setting of bedgate; {hint}"));
        }
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
