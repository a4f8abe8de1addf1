//! Which signals are the same problem, and that each problem has one remediation request.

use super::*;

async fn fingerprint_of(labels: Value) -> String {
    let (status, answer) = Fixture::new().post(&[alert(labels)]).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_problem_keeps_its_fingerprint_when_only_circumstances_change() {
    let original = fingerprint_of(json!({})).await;
    // written down, because whoever stores fingerprints relies on them across versions:
    // printf '["HighMemory","","shop","Deployment","api"]' | sha256sum
    assert_eq!(original, "3d5758ac6760586d0d1ae6190f4d76ef78cf08f6af73db0bb1d391051f4ecb3d");
    for same in [json!({ "severity": "warning" }), json!({ "pod": "api-7d9f-x" }), json!({ "instance": "10.0.0.1:80" })]
    {
        assert_eq!(fingerprint_of(same.clone()).await, original, "{same}");
    }
    for other in [
        json!({ "alertname": "HighCpu" }),
        json!({ "namespace": "shop-2" }),
        json!({ "deployment": "web" }),
        json!({ "deployment": "", "pod": "api" }),
        json!({ "cluster": "eu-1" }),
    ] {
        assert_ne!(fingerprint_of(other.clone()).await, original, "{other}");
    }
}

#[tokio::test]
async fn identities_that_read_the_same_when_joined_are_different_problems() {
    let one = fingerprint_of(json!({ "alertname": "a\",\"b", "cluster": "c" })).await;
    assert_ne!(one, fingerprint_of(json!({ "alertname": "a", "cluster": "b\",\"c" })).await);
}

#[test]
fn threads_that_race_make_one_remediation_request() {
    let store = Store::new(100);
    let signal = || {
        let webhook: crate::alertmanager::Webhook = serde_json::from_value(webhook(&[alert(json!({}))])).unwrap();
        webhook.alerts().unwrap().remove(0).signal("").unwrap()
    };
    for round in 1..=200 {
        let barrier = std::sync::Barrier::new(4);
        let race = || {
            let signal = signal();
            barrier.wait();
            store.receive(signal, start(), |_, _, new| new)
        };
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|new| *new).count()
        });
        assert_eq!(made, 1, "round {round}");
        store.resolve(&signal().fingerprint(), start()).unwrap();
    }
}

#[test]
fn the_oldest_is_forgotten_when_there_are_too_many() {
    let store = Store::new(2);
    let receive = |name: &str| {
        let webhook: crate::alertmanager::Webhook =
            serde_json::from_value(webhook(&[alert(json!({ "alertname": name }))])).unwrap();
        let signal = webhook.alerts().unwrap().remove(0).signal("").unwrap();
        store.receive(signal, start(), |request, _, new| (request.name.clone(), new))
    };
    let (first, _) = receive("a");
    let (second, _) = receive("b");
    let (third, _) = receive("c");
    assert!(store.get(&first).is_none());
    assert!(store.get(&second).is_some() && store.get(&third).is_some());
    assert_eq!(receive("b"), (second, false));
    assert!(receive("a").1, "a forgotten problem is a new one");
    assert_eq!(store.list(None, 10, 0).1, 2);
}
