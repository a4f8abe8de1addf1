//! The suites see the source as it is now: whatever a file's time says, and whatever lies in the target directory.

use std::fs;

use crate::product::{ANSWER, EDITED, Product};

#[test]
fn the_suites_see_what_datastorage_says_now() {
    let product = Product::new();
    let edited = "nobody has written the event";
    product.e2e(&["mine"]).0.expect(0);
    let program = product.program("datastorage");
    let older = fs::read(&program).unwrap();

    // One line of DataStorage's answer.
    product.edit(EDITED, ANSWER, edited);
    let (answer, ran) = product.e2e(&["mine"]);
    let answer = answer.expect(1);
    answer.says(&["datastorage_says_what_is_not_there", edited]);
    assert!(ran.failures().contains(&format!("DataStorage says: {edited}")));
    let report = ran.report();
    assert_eq!((&report["verdict"], &report["pipelines"][0]["verdict"]), (&"failed".into(), &"failed".into()));
    assert_eq!(report["pipelines"][0]["tests"]["failed"], 1);
    assert!(report["pipelines"][0]["cause"].as_str().unwrap().contains("datastorage_says_what_is_not_there"));
    ran.nothing_left();

    // An older program where cargo looks for the one that it built.
    assert_ne!(fs::read(&program).unwrap(), older, "the program was built anew");
    fs::write(&program, &older).unwrap();
    let (answer, ran) = product.e2e(&["mine"]);
    answer.expect(1);
    assert!(ran.failures().contains(edited), "the older program was not used");

    // The same file as before the edit, and as old as that: what a checkout or an unpacked archive may do.
    product.edit(EDITED, edited, ANSWER);
    product.age(EDITED);
    let (answer, ran) = product.e2e(&["mine"]);
    answer.expect(0);
    let seen = ran.events("fingerprinted");
    let seen = seen.iter().find(|event| event["image"] == "datastorage").unwrap();
    assert_eq!(seen["made_visible"], serde_json::json!([EDITED]), "cargo alone would not have seen it");
}

#[test]
fn the_suite_that_runs_is_the_one_in_the_source_now() {
    let product = Product::new();
    product.e2e(&["mine"]).0.expect(0);
    // As a checkout or an unpacked archive may bring it: cargo goes by the time, and would run the old one.
    let suite = "crates/e2e-mine/tests/suite.rs";
    product.edit(suite, "\"hello\"", "\"good morning\"");
    product.age(suite);
    let (answer, ran) = product.e2e(&["mine"]);
    answer.expect(1).says(&["it_greets"]);
    assert!(ran.failures().contains("good morning"), "{}", ran.failures());
}
