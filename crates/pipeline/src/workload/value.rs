//! Values that differ by platform: what each is, and not yet what it is there.

/// A value that the platform completes when it deploys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value(Vec<Part>);

/// A piece of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// Address of a workload's port, `HOST:PORT`.
    Address {
        /// The workload.
        workload: String,
        /// The name of its port.
        port: String,
    },
    /// A secret of this pipeline and run, made at random; the same name is the same secret.
    Secret(String),
    /// A path in the workload's data directory.
    Data(String),
    /// A path in the workload's image.
    ImagePath(String),
}

impl Value {
    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether a secret is part of it: then it is never printed.
    pub fn is_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret(_)))
    }

    /// This value followed by another.
    #[must_use]
    pub fn then(mut self, next: impl Into<Value>) -> Value {
        self.0.extend(next.into().0);
        self
    }

    /// The whole text, each piece resolved.
    ///
    /// # Errors
    /// What `resolve` returns.
    pub fn resolve(&self, mut resolve: impl FnMut(&Part) -> anyhow::Result<String>) -> anyhow::Result<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(piece) => text.push_str(piece),
                other => text.push_str(&resolve(other)?),
            }
        }
        Ok(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value(vec![Part::Text(text.to_owned())])
    }
}

/// The address of a workload's port: `http://host:port`.
pub fn endpoint(workload: &str, port: &str) -> Value {
    Value::from("http://").then(address(workload, port))
}

/// The address of a workload's port without a scheme: `host:port`.
pub fn address(workload: &str, port: &str) -> Value {
    Value(vec![Part::Address { workload: workload.to_owned(), port: port.to_owned() }])
}

/// A secret, random in each run.
pub fn secret(name: &str) -> Value {
    Value(vec![Part::Secret(name.to_owned())])
}

/// A path in the workload's data directory.
pub fn data(path: &str) -> Value {
    Value(vec![Part::Data(path.to_owned())])
}

/// A path in the workload's image.
pub fn image_path(path: &str) -> Value {
    Value(vec![Part::ImagePath(path.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_resolved_piece_by_piece_and_knows_that_it_is_secret() {
        let value = Value::from("postgres://u:").then(secret("db")).then("@h/").then(data("x"));
        assert!(value.is_secret() && !data("x").is_secret());
        let text = value.resolve(|part| Ok(format!("<{part:?}>"))).unwrap();
        assert_eq!(text, r#"postgres://u:<Secret("db")>@h/<Data("x")>"#);
    }
}
