//! The environment variables the configuration is read with: the process's own, or a table in tests.

use std::collections::BTreeMap;
use std::fmt;

/// Environment variables by name. Values may be secrets, so `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process; one whose name or value is not UTF-8 is left out.
    #[must_use]
    pub fn of_process() -> Self {
        let utf8 = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(utf8.collect())
    }

    /// The variable's value, also where it is empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variable's value unless it is empty: `export AWS_REGION_NAME=""` says nothing.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Sets a variable, over an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }
}

impl<Name: Into<String>, Value: Into<String>> FromIterator<(Name, Value)> for Environment {
    fn from_iter<Pairs: IntoIterator<Item = (Name, Value)>>(pairs: Pairs) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<Name: Into<String>, Value: Into<String>, const N: usize> From<[(Name, Value); N]> for Environment {
    fn from(pairs: [(Name, Value); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
