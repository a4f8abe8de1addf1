//! Secrets of a run: random, in memory and in files of mode 0600, never printed.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use crate::workload::{Part, Pipeline};

/// The secrets of one pipeline in one run, by name.
#[derive(Clone)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Makes every secret that the pipeline's workloads name.
    pub fn generate(pipeline: &Pipeline) -> Secrets {
        let values = pipeline.workloads().iter().flat_map(|workload| workload.environment());
        let names = values.flat_map(|(_, value)| value.parts()).filter_map(|part| match part {
            Part::Secret(name) => Some(name.clone()),
            _ => None,
        });
        Secrets(names.map(|name| (name, random())).collect())
    }

    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, for the suite.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// 244 random bits of the operating system: two UUIDs v4 (RFC 9562), in hexadecimal digits.
pub(crate) fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Workload, secret};

    #[test]
    fn a_secret_is_made_once_per_name_and_never_shown() {
        let workload = |name: &str| Workload::cargo(name).env("A", secret("token")).env("B", "x");
        let pipeline = Pipeline::new("p").workload(workload("a")).workload(workload("b").env("C", secret("other")));
        let secrets = Secrets::generate(&pipeline);
        assert_eq!(secrets.all().len(), 2);
        let token = secrets.get("token").unwrap();
        assert_eq!(token.len(), 64);
        assert!(!format!("{secrets:?}").contains(token) && format!("{secrets:?}").contains("\"token\""));
        assert_ne!(Secrets::generate(&pipeline).get("token").unwrap(), token);
    }
}
