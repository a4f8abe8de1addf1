//! The parameters of a query, and the SQL that both databases understand.
//!
//! A parameter that is unknown, repeated or senseless is an error: ignoring it would answer more events than were asked for.

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{CATEGORIES, OUTCOMES, parse_instant};
use crate::validate::{Invalid, one_of, quoted};

/// The size of a page when the query names none. The contract leaves it open; the original server takes 100.
pub const LIMIT_DEFAULT: i64 = 100;

/// The largest page.
pub const LIMIT_MAX: i64 = 1000;

/// The columns that a parameter of the same name compares for equality.
const COLUMNS: [&str; 5] = ["event_type", "event_category", "event_outcome", "severity", "correlation_id"];

/// A checked query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    equals: Vec<(&'static str, String)>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    detail: Option<(String, String)>,
    /// The most events of the page, 1 to [`LIMIT_MAX`].
    pub limit: i64,
    /// How many of the newest events are left out before the page begins.
    pub offset: i64,
}

/// A value of a `WHERE` clause. Its place in the list is its number in the clause, from `$1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Compared with a text.
    Text(String),
    /// Compared with a time.
    Time(DateTime<Utc>),
}

impl Query {
    /// Reads the parameters of an address; spans such as `24h` count back from `now`.
    ///
    /// # Errors
    ///
    /// The first parameter that is unknown, repeated or has a bad value.
    pub fn parse(parameters: Vec<(String, String)>, now: DateTime<Utc>) -> Result<Query, Invalid> {
        let mut query = Query { limit: LIMIT_DEFAULT, ..Query::default() };
        let (mut detail_key, mut detail_value) = (None, None);
        let mut seen = Vec::new();
        for (name, value) in parameters {
            if seen.contains(&name) {
                return Err(Invalid::new(&name, format!("{name} is given twice")));
            }
            if value.contains('\0') {
                return Err(Invalid::new(&name, format!("{name} has a NUL character, which no event has")));
            }
            match name.as_str() {
                "event_category" => query.equals.push(("event_category", one_of(&name, value, &CATEGORIES)?)),
                "event_outcome" => query.equals.push(("event_outcome", one_of(&name, value, &OUTCOMES)?)),
                "since" => query.since = Some(time(&name, &value, now)?),
                "until" => query.until = Some(time(&name, &value, now)?),
                "limit" => query.limit = number(&name, &value, 1, LIMIT_MAX)?,
                "offset" => query.offset = number(&name, &value, 0, i64::MAX)?,
                "detail_key" => detail_key = Some(value),
                "detail_value" => detail_value = Some(value),
                _ => match COLUMNS.iter().find(|column| **column == name) {
                    Some(column) => query.equals.push((column, value)),
                    None => {
                        return Err(Invalid::new(
                            &name,
                            format!("{} is not a parameter: correct or remove it", quoted(&name)),
                        ));
                    }
                },
            }
            seen.push(name);
        }
        if let (Some(since), Some(until)) = (query.since, query.until)
            && until < since
        {
            return Err(Invalid::new("until", "until is before since, so that no event can match"));
        }
        query.detail = match (detail_key, detail_value) {
            (None, None) => None,
            (Some(key), Some(value)) => Some((key, value)),
            (Some(_), None) => return Err(Invalid::new("detail_value", "detail_key needs a detail_value")),
            (None, Some(_)) => return Err(Invalid::new("detail_key", "detail_value needs a detail_key")),
        };
        Ok(query)
    }

    /// The `WHERE` clause, empty if every event matches, and its values. `detail` is how the database reads a member of `event_data`,
    /// given the number of the member's name.
    pub fn to_sql(&self, detail: fn(usize) -> String) -> (String, Vec<Value>) {
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        for (column, value) in &self.equals {
            values.push(Value::Text(value.clone()));
            conditions.push(format!("{column} = ${}", values.len()));
        }
        for (comparison, time) in [(">=", self.since), ("<=", self.until)] {
            if let Some(time) = time {
                values.push(Value::Time(time));
                conditions.push(format!("event_timestamp {comparison} ${}", values.len()));
            }
        }
        if let Some((key, value)) = &self.detail {
            values.push(Value::Text(key.clone()));
            let member = detail(values.len());
            values.push(Value::Text(value.clone()));
            conditions.push(format!("{member} = ${}", values.len()));
        }
        if conditions.is_empty() {
            return (String::new(), values);
        }
        (format!("WHERE {}", conditions.join(" AND ")), values)
    }
}

fn number(name: &str, text: &str, min: i64, max: i64) -> Result<i64, Invalid> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => {
            Err(Invalid::new(name, format!("{name} must be a whole number from {min} to {max}, not {}", quoted(text))))
        }
    }
}

/// An instant of RFC 3339, or a span back from now: a whole number and `s`, `m`, `h` or `d`.
fn time(name: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Invalid> {
    // a `+` that the client did not encode arrives as a space, and an instant has no other
    let instant = || parse_instant(&text.replace(' ', "+"));
    span(text).and_then(|span| now.checked_sub_signed(span)).or_else(instant).ok_or_else(|| {
        let detail = format!(
            "{name} must be a time of RFC 3339 or a span back from now such as 30m, 24h or 7d, not {}",
            quoted(text)
        );
        Invalid::new(name, detail)
    })
}

fn span(text: &str) -> Option<TimeDelta> {
    let (unit, of): (_, fn(i64) -> Option<TimeDelta>) = match text.chars().next_back()? {
        unit @ 's' => (unit, TimeDelta::try_seconds),
        unit @ 'm' => (unit, TimeDelta::try_minutes),
        unit @ 'h' => (unit, TimeDelta::try_hours),
        unit @ 'd' => (unit, TimeDelta::try_days),
        _ => return None,
    };
    let count = text.strip_suffix(unit)?;
    if !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    of(count.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::instant;

    fn now() -> DateTime<Utc> {
        parse_instant("2026-03-01T12:00:00Z").unwrap()
    }

    fn parse(parameters: &[(&str, &str)]) -> Result<Query, Invalid> {
        Query::parse(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), now())
    }

    #[test]
    fn spans_count_back_from_now() {
        for (text, expected) in [
            ("0s", "2026-03-01T12:00:00.000000Z"),
            ("90s", "2026-03-01T11:58:30.000000Z"),
            ("30m", "2026-03-01T11:30:00.000000Z"),
            ("24h", "2026-02-28T12:00:00.000000Z"),
            ("7d", "2026-02-22T12:00:00.000000Z"),
            ("2026-02-28T23:00:00 01:00", "2026-02-28T22:00:00.000000Z"),
        ] {
            assert_eq!(parse(&[("since", text)]).unwrap().since.map(instant).as_deref(), Some(expected), "{text}");
        }
        for bad in ["", "h", "-1h", "+1h", "1w", "1.5h", "1 h", "١h", "9999999999d", "999999999999d", "2026-02-28"] {
            let invalid = parse(&[("until", bad)]).unwrap_err();
            assert_eq!(invalid.field.as_deref(), Some("until"), "{bad}");
        }
    }

    #[test]
    fn pages_have_a_default_and_limits() {
        let query = parse(&[]).unwrap();
        assert_eq!((query.limit, query.offset), (100, 0));
        for (limit, good) in [("0", false), ("1", true), ("1000", true), ("1001", false), ("", false), ("1e2", false)] {
            assert_eq!(parse(&[("limit", limit)]).is_ok(), good, "{limit}");
        }
        assert!(parse(&[("offset", "9223372036854775807")]).is_ok());
        assert!(parse(&[("offset", "9223372036854775808")]).is_err());
    }

    #[test]
    fn the_clause_numbers_its_values_in_order() {
        let query = parse(&[
            ("detail_key", "k"),
            ("correlation_id", "it's"),
            ("since", "1h"),
            ("event_outcome", "failure"),
            ("detail_value", "v"),
        ]);
        let (clause, values) = query.unwrap().to_sql(|key| format!("member(${key})"));
        assert_eq!(
            clause,
            "WHERE correlation_id = $1 AND event_outcome = $2 AND event_timestamp >= $3 AND member($4) = $5"
        );
        let text = |text: &str| Value::Text(text.to_owned());
        let hour = Value::Time(now() - TimeDelta::hours(1));
        assert_eq!(values, [text("it's"), text("failure"), hour, text("k"), text("v")]);
        assert_eq!(parse(&[]).unwrap().to_sql(|_| String::new()).0, "");
    }
}
