//! The environment contract of a service: which variables it reads, and one sentence for each that is missing or wrong.
//!
//! Values are never quoted in errors when they may be secrets.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

/// A variable that is missing or wrong. The process ends with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// An error about configuration that the kit does not read itself; name the variable or file, and the remedy.
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError(message.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Where variables are read from: the process, or pairs given by a test.
pub struct Environment(Source);

type Source = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Environment {
        Environment(Box::new(|name| std::env::var_os(name)))
    }

    /// An environment with these variables only.
    pub fn of(variables: &[(&str, &str)]) -> Environment {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Environment(Box::new(move |name| variables.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone())))
    }

    /// The value of a variable; `None` when it is absent or empty.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8.
    pub fn optional(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match (self.0)(name) {
            None => Ok(None),
            Some(value) => match value.into_string() {
                Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
                Err(_) => Err(ConfigError::new(format!("the variable {name} is not UTF-8: set it to plain text"))),
            },
        }
    }

    /// The value of a variable that must be there; `what` says what to set it to, as in `the address of DataStorage`.
    ///
    /// # Errors
    ///
    /// If it is absent, empty or not UTF-8.
    pub fn required(&self, name: &str, what: &str) -> Result<String, ConfigError> {
        self.optional(name)?
            .ok_or_else(|| ConfigError::new(format!("the variable {name} is missing or empty: set it to {what}")))
    }

    /// A variable parsed as `T`; `what` says what it should be, as in `a number of seconds`.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be parsed. The value is quoted: do not use it for secrets.
    pub fn parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.optional(name)? else { return Ok(None) };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(ConfigError::new(format!("the variable {name} is `{value}`: set it to {what}"))),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who answers: what `/version` shows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Identity {
    /// The name of the service.
    pub service: &'static str,
    /// The version of its package.
    pub version: &'static str,
    /// The fingerprint of the source that it was built from (`SOURCE_FINGERPRINT`), `unknown` outside an image.
    pub source_fingerprint: String,
    /// The revision of the source (`SOURCE_REVISION`), `unknown` outside an image.
    pub revision: String,
    /// Distinguishes two running instances of one image (`INSTANCE_ID`, else random).
    pub instance: String,
}

/// What every service needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who answers.
    pub identity: Identity,
    /// Where to listen when no socket was passed (`LISTEN_ADDR`).
    pub listen_addr: std::net::SocketAddr,
    /// The bearer token that callers of the API must show (`API_TOKEN`).
    pub api_token: Secret,
}

impl Config {
    /// Reads the variables that every service has.
    ///
    /// # Errors
    ///
    /// If `API_TOKEN` is missing or cannot be sent in a header, or `LISTEN_ADDR` is not an address.
    pub fn from_environment(
        service: &'static str,
        version: &'static str,
        environment: &Environment,
    ) -> Result<Config, ConfigError> {
        let or_unknown = |name| Ok(environment.optional(name)?.unwrap_or_else(|| "unknown".to_owned()));
        Ok(Config {
            api_token: token(environment, "API_TOKEN", "the bearer token that callers must show")?,
            listen_addr: environment
                .parsed("LISTEN_ADDR", "an address such as 127.0.0.1:8080")?
                .unwrap_or_else(|| ([0, 0, 0, 0], 8080).into()),
            identity: Identity {
                service,
                version,
                source_fingerprint: or_unknown("SOURCE_FINGERPRINT")?,
                revision: or_unknown("SOURCE_REVISION")?,
                instance: match environment.optional("INSTANCE_ID")? {
                    Some(instance) => instance,
                    None => uuid::Uuid::new_v4().to_string(),
                },
            },
        })
    }
}

/// A bearer token: visible ASCII without spaces, which is all that RFC 6750, section 2.1 lets a header carry.
pub(crate) fn token(environment: &Environment, name: &str, what: &str) -> Result<Secret, ConfigError> {
    let token = environment.required(name, what)?;
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret(token))
    } else {
        Err(ConfigError::new(format!(
            "the variable {name} has a character that no header can carry: use visible ASCII"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_environment("gateway", "0.0.0", &Environment::of(variables))
    }

    #[test]
    fn the_environment_contract_is_read() {
        let config = read(&[
            ("API_TOKEN", "t0p"),
            ("LISTEN_ADDR", "127.0.0.1:9"),
            ("SOURCE_FINGERPRINT", "sha256:ab"),
            ("SOURCE_REVISION", "r1"),
            ("INSTANCE_ID", "i1"),
        ])
        .unwrap();
        assert_eq!(config.listen_addr, ([127, 0, 0, 1], 9).into());
        let Identity { source_fingerprint, revision, instance, .. } = config.identity;
        assert_eq!((&*source_fingerprint, &*revision, &*instance), ("sha256:ab", "r1", "i1"));
        assert_eq!(read(&[("API_TOKEN", "t")]).unwrap().listen_addr, ([0, 0, 0, 0], 8080).into());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_the_remedy() {
        let message = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        let missing = "the variable API_TOKEN is missing or empty: set it to the bearer token that callers must show";
        assert_eq!(message(&[]), missing);
        assert_eq!(message(&[("API_TOKEN", "")]), missing);
        assert_eq!(
            message(&[("API_TOKEN", "t"), ("LISTEN_ADDR", "8080")]),
            "the variable LISTEN_ADDR is `8080`: set it to an address such as 127.0.0.1:8080"
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let error = read(&[("API_TOKEN", "s3cret with space")]).unwrap_err().to_string();
        let config = format!("{:?}", read(&[("API_TOKEN", "s3cret")]).unwrap());
        assert!(!error.contains("s3cret") && !config.contains("s3cret"), "{error} {config}");
    }
}
