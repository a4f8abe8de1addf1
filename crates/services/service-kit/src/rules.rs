//! Rules for what callers send, that several services share; each refusal names the field.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// The longest text other than a message, in characters; a Kubernetes name has at most as many.
pub const TEXT_MAX: usize = 253;

/// The longest message, in characters.
pub const MESSAGE_MAX: usize = 1024;

/// The longest timeout: a day.
pub const TIMEOUT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A timeout in milliseconds, from 1 to a day.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "u64")]
pub struct Millis(u64);

impl Millis {
    /// So many minutes, a day at most.
    pub fn minutes(minutes: u64) -> Millis {
        Millis((minutes * 60 * 1000).clamp(1, TIMEOUT_MAX_MS))
    }
}

impl TryFrom<u64> for Millis {
    type Error = String;

    fn try_from(value: u64) -> Result<Millis, String> {
        if (1..=TIMEOUT_MAX_MS).contains(&value) {
            Ok(Millis(value))
        } else {
            Err(format!("{value} is no timeout: give 1 to {TIMEOUT_MAX_MS} milliseconds"))
        }
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Duration {
        Duration::from_millis(millis.0)
    }
}

/// A text that must be there, of so many characters at most.
///
/// # Errors
///
/// A 400 that names the field.
pub fn required(field: &str, value: &str, max: usize) -> Result<(), Problem> {
    if value.is_empty() {
        return Err(Problem::invalid(field, format!("`{field}` is missing or empty")));
    }
    optional(field, value, max)
}

/// A text that may be empty, of so many characters at most and without control characters.
///
/// # Errors
///
/// A 400 that names the field.
pub fn optional(field: &str, value: &str, max: usize) -> Result<(), Problem> {
    let length = value.chars().count();
    if length > max {
        return Err(Problem::invalid(field, format!("`{field}` has {length} characters: at most {max} are allowed")));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::invalid(field, format!("`{field}` has a control character: remove it")));
    }
    Ok(())
}

/// A name as Kubernetes asks of names: a DNS subdomain (RFC 1123), labels of letters, digits and inner hyphens, joined by dots.
///
/// # Errors
///
/// A 400 that names the field.
pub fn name(field: &str, value: &str) -> Result<(), Problem> {
    required(field, value, TEXT_MAX)?;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| good(byte) || byte == b'-';
    let label = |label: &str| match label.as_bytes() {
        [first, .., last] => good(*first) && good(*last) && label.bytes().all(inside),
        [only] => good(*only),
        [] => false,
    };
    if value.split('.').all(label) {
        return Ok(());
    }
    let rule = "use lower-case letters, digits, `-` and `.`, with a letter or digit first and last";
    Err(Problem::invalid(field, format!("`{value}` is not a name: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_subdomain() {
        for good in ["a", "a-b", "a.b-c.d0", "0"] {
            assert!(name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", "a b", "ä", &"a".repeat(TEXT_MAX + 1)] {
            assert!(name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_from_a_millisecond_to_a_day() {
        assert!(Millis::try_from(0).is_err() && Millis::try_from(TIMEOUT_MAX_MS + 1).is_err());
        assert_eq!(Duration::from(Millis::minutes(60)), Duration::from_secs(3600));
        assert_eq!(Duration::from(Millis::minutes(u64::from(u32::MAX))), Duration::from_secs(24 * 3600));
    }
}
