//! What the rule table decides, and which files are refused.

use super::*;
use crate::input::Texts;
use crate::rules::Facts;

fn decide(namespace: &str, kind: &str, signal: &str, severity: &str, labels: &[(&str, &str)]) -> Value {
    let labels: Texts = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let facts = Facts { namespace, kind, signal, severity, labels: &labels };
    serde_json::to_value(Rules::parse(SHIPPED).unwrap().decide(facts)).unwrap()
}

fn values(decision: &Value) -> [&str; 3] {
    ["environment", "severity", "priority"].map(|table| decision[table]["value"].as_str().unwrap())
}

#[test]
fn the_shipped_rules_decide_and_name_the_rule() {
    let decision = decide("shop-prod", "Pod", "HighMemory", "critical", &[]);
    assert_eq!(values(&decision), ["production", "critical", "P0"]);
    assert_eq!(decision["environment"]["rule"], "production by namespace");
    assert_eq!(decision["priority"]["rule"], "critical in production");
    for (namespace, severity, expected) in [
        ("prod", "Warning", ["production", "medium", "P2"]),
        ("prod-eu", "error", ["production", "high", "P1"]),
        ("staging", "page", ["staging", "critical", "P1"]),
        ("shop-dev", "critical", ["development", "critical", "P2"]),
        ("shop-dev", "info", ["development", "low", "P3"]),
        ("products", "critical", ["unknown", "critical", "P1"]),
    ] {
        assert_eq!(values(&decide(namespace, "Pod", "X", severity, &[])), expected, "{namespace} {severity}");
    }
}

#[test]
fn what_no_rule_knows_gets_the_default() {
    let decision = decide("shop", "Pod", "X", "odd", &[]);
    assert_eq!(values(&decision), ["unknown", "unknown", "P3"]);
    assert!(
        ["environment", "severity", "priority"].iter().all(|table| decision[table]["rule"] == "default"),
        "{decision}"
    );
}

#[test]
fn a_label_beats_the_namespace_and_all_conditions_of_a_rule_must_hold() {
    let decision = decide("shop-prod", "Pod", "X", "critical", &[("environment", "Development")]);
    assert_eq!(decision["environment"]["rule"], "development by label");
    let lost = |kind| decide("", kind, "KubeNodeNotReady", "warning", &[]);
    assert_eq!(lost("Node")["severity"]["rule"], "node lost");
    assert_eq!(lost("Pod")["severity"]["rule"], "sender says warning");
}

#[test]
fn a_star_stands_for_any_text() {
    let matches = |pattern: &str, value: &str| {
        let rules = format!(
            "default = {{ environment = 'unknown', severity = 'unknown', priority = 'P3' }}\n\
             [[priority]]\nrule = 'r'\nsignal = ['{pattern}']\nis = 'P0'\n"
        );
        let labels = Texts::new();
        let facts = Facts { namespace: "", kind: "", signal: value, severity: "", labels: &labels };
        Rules::parse(&rules).unwrap().decide(facts).priority.rule == "r"
    };
    for (pattern, value) in
        [("a*", "a"), ("*", ""), ("*b", "aab"), ("a*b*c", "a-b-b-c"), ("A*C", "abc"), ("a**c", "ac")]
    {
        assert!(matches(pattern, value), "{pattern} {value}");
    }
    for (pattern, value) in [("a*", "ba"), ("a*a", "a"), ("a*b*c", "acb"), ("ab", "abc"), ("*ab*ab", "ab"), ("", "a")] {
        assert!(!matches(pattern, value), "{pattern} {value}");
    }
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_line() {
    let head = "[default]\nenvironment = \"unknown\"\nseverity = \"unknown\"\npriority = \"P3\"\n";
    let message = |rest: &str| Rules::parse(&format!("{head}{rest}")).err().expect(rest).to_string();
    let rule = |rest: &str| format!("[[environment]]\nrule = \"a\"\n{rest}\nis = \"production\"\n");
    for (rest, expected) in [
        ("oops", "line 5: "),
        (&*rule("namespace = [\"a\"]").replace("production", "prod"), "line 8: unknown variant `prod`"),
        (&*rule("namespaces = [\"a\"]"), "line 7: unknown field `namespaces`"),
        (&*rule("namespace = \"a\""), "line 7: invalid type: string \"a\""),
        (&*rule(""), "line 6: the rule \"a\" has no condition"),
        (&*rule("namespace = []"), "line 6: the rule \"a\" has a condition without a pattern"),
        (&*rule("environment = [\"a\"]"), "line 6: the rule \"a\" asks for the environment"),
        (&*rule("kind = [\"a\"]").repeat(2), "line 10: the name \"a\" is empty or taken"),
    ] {
        let message = message(rest);
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(Rules::parse("").err().unwrap().to_string().contains("missing field `default`"));
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let message = Rules::read(std::path::Path::new("/nowhere/rules.toml")).err().unwrap().to_string();
    assert!(message.starts_with("cannot read the rule file /nowhere/rules.toml: "), "{message}");
    assert!(message.ends_with("set RULES_FILE to one that can be read"), "{message}");
}
