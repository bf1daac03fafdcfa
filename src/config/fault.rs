//! What is wrong with a configuration: every fault with its place and what to do about it.

use std::fmt;
use std::sync::Arc;

/// Where a setting stands: `config.yaml: model_list[2].litellm_params.model`, or `environment: DATABASE_URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the operator named it, or `environment`.
    pub file: Arc<str>,
    /// Keys joined by dots; an element of a list by its number in that file, from 0. Empty for the whole file.
    pub path: String,
}

impl Place {
    /// The place of a whole file.
    #[must_use]
    pub fn file(file: &str) -> Self {
        Self { file: file.into(), path: String::new() }
    }

    /// The place of an environment variable.
    #[must_use]
    pub fn variable(name: &str) -> Self {
        Self { file: "environment".into(), path: name.to_owned() }
    }

    /// The place of a key under this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { file: Arc::clone(&self.file), path }
    }

    /// The place of an element of the list that stands here.
    #[must_use]
    pub fn element(&self, index: usize) -> Self {
        Self { file: Arc::clone(&self.file), path: format!("{}[{index}]", self.path) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.file) } else { write!(f, "{}: {}", self.file, self.path) }
    }
}

/// One thing that is wrong, and what to do about it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong and what to do, in lower case without a full stop.
    pub problem: String,
}

/// Everything that is wrong with a configuration, in the order it was found; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} fault{plural}:", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ConfigFaults {}
