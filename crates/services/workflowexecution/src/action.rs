//! What a step can do.
//!
//! | action   | `with`                       | output        | fails                                          |
//! |----------|------------------------------|---------------|------------------------------------------------|
//! | `noop`   |                              | null          | never                                          |
//! | `echo`   | `value`: any JSON            | the value     | never                                          |
//! | `wait`   | `ms`                         | null          | never                                          |
//! | `fail`   | `reason`, `message`          |               | always, with these                             |
//! | `assert` | `step`, `equals`: any JSON   | null          | if the output of the earlier step is another   |
//!
//! None of them touches files, processes or the network: what a caller sends decides nothing but the caller's own execution.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};
use service_kit::Problem;

use service_kit::rules::{MESSAGE_MAX, TEXT_MAX, TIMEOUT_MAX_MS, required};

use crate::request::Step;

/// An action that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Succeeds.
    Noop,
    /// Gives the value as its output.
    Echo(Value),
    /// Succeeds after that time.
    Wait(Duration),
    /// Fails.
    Fail(Failure),
    /// Fails unless the output of the step is this.
    Assert {
        /// The name of the earlier step.
        step: String,
        /// What its output should be.
        equals: Value,
    },
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One word, such as `TaskFailed`.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}

impl Action {
    /// The action of a step, whose field is `at`, such as `workflow.steps[0]`; `earlier` are the steps before it.
    ///
    /// # Errors
    ///
    /// If there is no such action, or its `with` is not what it takes.
    pub fn of(step: &Step, at: &str, earlier: &[Step]) -> Result<Action, Problem> {
        let mut with = With { values: step.with.clone(), at };
        let action = match step.action.as_str() {
            "noop" => Action::Noop,
            "echo" => Action::Echo(with.value("value")?),
            "wait" => Action::Wait(with.millis("ms")?),
            "fail" => Action::Fail(Failure {
                reason: with.text("reason", TEXT_MAX)?,
                message: with.text("message", MESSAGE_MAX)?,
            }),
            "assert" => {
                let step = with.text("step", TEXT_MAX)?;
                if !earlier.iter().any(|known| known.name == step) {
                    let detail = format!("`{step}` is no earlier step: name one whose output is known by then");
                    return Err(Problem::invalid(with.field("step"), detail));
                }
                Action::Assert { step, equals: with.value("equals")? }
            }
            other => {
                let detail = format!("there is no action `{other}`: use noop, echo, wait, fail or assert");
                return Err(Problem::invalid(format!("{at}.action"), detail));
            }
        };
        match with.values.keys().next() {
            None => Ok(action),
            Some(unknown) => {
                let detail = format!("the action `{}` has no parameter `{unknown}`: remove it", step.action);
                Err(Problem::invalid(with.field(unknown), detail))
            }
        }
    }

    /// Runs the action; `outputs` are those of the steps before.
    ///
    /// # Errors
    ///
    /// As in the table of the module.
    pub async fn run(&self, outputs: &HashMap<String, Value>) -> Result<Value, Failure> {
        match self {
            Action::Noop => Ok(Value::Null),
            Action::Echo(value) => Ok(value.clone()),
            Action::Wait(time) => {
                tokio::time::sleep(*time).await;
                Ok(Value::Null)
            }
            Action::Fail(failure) => Err(failure.clone()),
            Action::Assert { step, equals } => match outputs.get(step) {
                Some(output) if output == equals => Ok(Value::Null),
                output => {
                    let output = output.unwrap_or(&Value::Null);
                    let message: String = format!("the output of step `{step}` is {output}, not {equals}")
                        .chars()
                        .take(MESSAGE_MAX)
                        .collect();
                    Err(Failure { reason: "AssertionFailed".to_owned(), message })
                }
            },
        }
    }
}

/// The parameters of a step that nobody has taken yet.
struct With<'a> {
    values: Map<String, Value>,
    at: &'a str,
}

impl With<'_> {
    fn field(&self, name: &str) -> String {
        format!("{}.with.{name}", self.at)
    }

    fn value(&mut self, name: &str) -> Result<Value, Problem> {
        let field = self.field(name);
        self.values.remove(name).ok_or_else(|| Problem::invalid(&field, format!("`{field}` is missing")))
    }

    fn text(&mut self, name: &str, max: usize) -> Result<String, Problem> {
        let field = self.field(name);
        match self.value(name)? {
            Value::String(text) => required(&field, &text, max).map(|()| text),
            other => Err(Problem::invalid(&field, format!("`{field}` is {other}: give a text"))),
        }
    }

    fn millis(&mut self, name: &str) -> Result<Duration, Problem> {
        let field = self.field(name);
        match self.value(name)?.as_u64() {
            Some(millis) if millis <= TIMEOUT_MAX_MS => Ok(Duration::from_millis(millis)),
            _ => {
                Err(Problem::invalid(&field, format!("`{field}` is no time: give 0 to {TIMEOUT_MAX_MS} milliseconds")))
            }
        }
    }
}
