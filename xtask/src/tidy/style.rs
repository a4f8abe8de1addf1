//! Rules for single files.

use super::Text;

/// More than this in one file does not fit into a head.
const LONGEST: usize = 400;

pub(super) fn check(text: &Text) -> Vec<String> {
    if !text.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let lines = text.content.lines().count();
    if lines > LONGEST {
        faults.push(format!("{}: {lines} lines; split it, {LONGEST} are the most", text.path));
    }
    if !text.content.starts_with("//!") && !text.path.ends_with("tests.rs") && !text.path.contains("/fixtures/") {
        faults.push(format!("{}:1: a module begins with `//!`: what it is for and what must hold", text.path));
    }
    for (number, line) in text.content.lines().enumerate() {
        let code = line.trim_start();
        // Written so that this file does not find itself.
        for (pattern, what) in [
            (concat!("#[", "ignore"), "a test that does not run proves nothing; delete it or make it run"),
            (concat!("#[", "should_panic"), "it passes for any panic; check the error instead"),
            (concat!("#[", "allow("), "use `#[expect(…, reason = …)]`, which tells when it is no longer needed"),
            (concat!("TO", "DO"), "do it, or write an issue"),
            (concat!("FIX", "ME"), "do it, or write an issue"),
        ] {
            if code.contains(pattern) {
                faults.push(format!("{}:{}: `{pattern}`: {what}", text.path, number + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_seen_broken() {
        let find = |content: &str| check(&Text { path: "a.rs".to_owned(), content: content.to_owned() });
        assert!(find("//! Fine.\nfn a() {}\n").is_empty());
        assert_eq!(find("fn a() {}\n").len(), 1);
        assert_eq!(find(&format!("//! Long.\n{}", "\n".repeat(400))).len(), 1);
        assert_eq!(find(concat!("//! Bad.\n#[", "ignore]\n")).len(), 1);
    }
}
