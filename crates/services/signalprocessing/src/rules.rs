//! The rule table: read from a TOML file, checked whole, then asked.
//!
//! `rules.toml` in this package explains the format and is what the image ships. Values are enums here, so that a misspelt
//! priority is a mistake in the file and not a new priority.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use service_kit::ConfigError;
use toml::Spanned;

use crate::input::Texts;

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Environment {
    Production,
    Staging,
    Development,
    Unknown,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Unknown,
}

/// How soon somebody should care, the lowest number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Priority {
    P0,
    P1,
    P2,
    P3,
}

impl Environment {
    fn word(self) -> &'static str {
        match self {
            Environment::Production => "production",
            Environment::Staging => "staging",
            Environment::Development => "development",
            Environment::Unknown => "unknown",
        }
    }
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
            Severity::Unknown => "unknown",
        }
    }
}

/// One value of a decision, with the name of the rule that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Decided<T> {
    pub(crate) value: T,
    pub(crate) rule: String,
}

/// What a signal is classified as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    pub(crate) environment: Decided<Environment>,
    pub(crate) severity: Decided<Severity>,
    pub(crate) priority: Decided<Priority>,
}

/// What rules are about.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) signal: &'a str,
    pub(crate) severity: &'a str,
    pub(crate) labels: &'a Texts,
}

type Patterns = Vec<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule<T> {
    rule: Spanned<String>,
    is: T,
    namespace: Option<Patterns>,
    kind: Option<Patterns>,
    signal: Option<Patterns>,
    severity: Option<Patterns>,
    environment: Option<Patterns>,
    label: Option<BTreeMap<String, Patterns>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Default {
    environment: Environment,
    severity: Severity,
    priority: Priority,
}

/// The rule table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    default: Default,
    #[serde(default)]
    environment: Vec<Rule<Environment>>,
    #[serde(default)]
    severity: Vec<Rule<Severity>>,
    #[serde(default)]
    priority: Vec<Rule<Priority>>,
}

/// The name under which a decision says that no rule matched.
const DEFAULT: &str = "default";

impl Rules {
    /// Reads and checks a rule file; the error names the file, the line and what is wrong there.
    pub(crate) fn read(file: &Path) -> Result<Rules, ConfigError> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            ConfigError::new(format!(
                "cannot read the rule file {shown}: {error}; set RULES_FILE to one that can be read"
            ))
        })?;
        Rules::parse(&text).map_err(|mistake| ConfigError::new(format!("the rule file {shown} is wrong at {mistake}")))
    }

    /// Parses and checks the text of a rule file.
    pub(crate) fn parse(text: &str) -> Result<Rules, Mistake> {
        let rules: Rules = toml::from_str(text).map_err(|error| Mistake {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut names = HashSet::from([DEFAULT.to_owned()]);
        check(&rules.environment, text, &mut names, false)?;
        check(&rules.severity, text, &mut names, false)?;
        check(&rules.priority, text, &mut names, true)?;
        Ok(rules)
    }

    pub(crate) fn len(&self) -> usize {
        self.environment.len() + self.severity.len() + self.priority.len()
    }

    /// Classifies.
    pub(crate) fn decide(&self, facts: Facts<'_>) -> Decision {
        let environment = first(&self.environment, facts, "", self.default.environment);
        let severity = first(&self.severity, facts, "", self.default.severity);
        let decided = Facts { severity: severity.value.word(), ..facts };
        let priority = first(&self.priority, decided, environment.value.word(), self.default.priority);
        Decision { environment, severity, priority }
    }
}

/// A mistake in a rule file.
#[derive(Debug)]
pub(crate) struct Mistake {
    line: usize,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn check<T>(rules: &[Rule<T>], text: &str, names: &mut HashSet<String>, decided: bool) -> Result<(), Mistake> {
    for rule in rules {
        let mistake = |message: String| Err(Mistake { line: line_of(text, rule.rule.span().start), message });
        let name = rule.rule.get_ref();
        if name.is_empty() || !names.insert(name.clone()) {
            return mistake(format!("the name {name:?} is empty or taken: give the rule a name of its own"));
        }
        if !decided && rule.environment.is_some() {
            return mistake(format!("the rule {name:?} asks for the environment, which only [[priority]] can"));
        }
        let plain = [&rule.namespace, &rule.kind, &rule.signal, &rule.severity, &rule.environment];
        let labels = rule.label.iter().flat_map(BTreeMap::values);
        let mut conditions = plain.into_iter().flatten().chain(labels).peekable();
        if conditions.peek().is_none() {
            return mistake(format!(
                "the rule {name:?} has no condition: every signal would match, which is what [default] is for"
            ));
        }
        if conditions.any(Vec::is_empty) {
            return mistake(format!("the rule {name:?} has a condition without a pattern: nothing would ever match"));
        }
    }
    Ok(())
}

fn first<T: Copy>(rules: &[Rule<T>], facts: Facts<'_>, environment: &str, default: T) -> Decided<T> {
    match rules.iter().find(|rule| rule.matches(facts, environment)) {
        Some(rule) => Decided { value: rule.is, rule: rule.rule.get_ref().clone() },
        None => Decided { value: default, rule: DEFAULT.to_owned() },
    }
}

impl<T> Rule<T> {
    fn matches(&self, facts: Facts<'_>, environment: &str) -> bool {
        let plain = [
            (&self.namespace, facts.namespace),
            (&self.kind, facts.kind),
            (&self.signal, facts.signal),
            (&self.severity, facts.severity),
            (&self.environment, environment),
        ];
        let any = |patterns: &Patterns, value: &str| patterns.iter().any(|pattern| matches(pattern, value));
        plain.iter().all(|(patterns, value)| patterns.as_ref().is_none_or(|patterns| any(patterns, value)))
            && self
                .label
                .iter()
                .flatten()
                .all(|(key, patterns)| facts.labels.get(key).is_some_and(|value| any(patterns, value)))
    }
}

/// Whether the whole value matches the pattern, in which `*` stands for any text. Case is ignored.
///
/// The pieces between the stars are looked for from the left, each as early as possible, which leaves the most for the rest; no
/// backtracking is needed since a star is the only wildcard.
fn matches(pattern: &str, value: &str) -> bool {
    let (pattern, value) = (pattern.to_lowercase(), value.to_lowercase());
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut left) = value.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}
