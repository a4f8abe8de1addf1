//! The states of a workload, from what real clusters (Kubernetes 1.34, containerd 2.1) said when they were provoked.

use serde_json::{Value as Json, json};

use super::*;

/// A pod of `gateway` with this status.
fn pod(status: Json) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "gateway-7f4-r7w", "labels": { "app.kubernetes.io/name": "gateway" } },
        "status": status,
    }))
    .unwrap()
}

fn container_status(restarts: u32, state: Json, last: Json) -> Json {
    json!({ "phase": "Running", "containerStatuses": [
        { "name": "main", "restartCount": restarts, "state": state, "lastState": last }
    ] })
}

fn event(kind: &str, name: &str, reason: &str, message: &str) -> ClusterEvent {
    serde_json::from_value(json!({
        "metadata": { "name": format!("{name}.{reason}") },
        "involvedObject": { "kind": kind, "name": name },
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": null,
    }))
    .unwrap()
}

fn view(pods: Vec<Pod>, events: Vec<ClusterEvent>) -> View {
    View {
        pods: pods.into_iter().map(|pod| (pod.metadata.name.clone(), pod)).collect(),
        events: events.into_iter().map(|event| (event.metadata.name.clone(), event)).collect(),
        nodes: std::collections::BTreeMap::new(),
    }
}

/// The cause, if the state ends the wait at once.
fn cause(view: &View) -> String {
    match workload("gateway", view) {
        State::Dead(dead) => dead.failure.cause,
        other => panic!("not dead: {other:?}"),
    }
}

fn waiting_for(view: &View) -> String {
    match workload("gateway", view) {
        State::Waiting(what) => what,
        other => panic!("not waiting: {other:?}"),
    }
}

#[test]
fn what_cannot_heal_ends_the_wait_with_its_cause() {
    let waits = |reason: &str, message: &str| {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        cause(&view(vec![pod(container_status(0, state, json!({})))], vec![]))
    };
    let cases = [
        (
            "ErrImageNeverPull",
            "Container image \"x\" is not present with pull policy of Never",
            "the node has no image for `gateway`",
        ),
        ("InvalidImageName", "couldn't parse image name \"localhost/UPPER:::x\"", "no valid name"),
        ("ImagePullBackOff", "Back-off pulling image \"localhost/no-such:1\"", "cannot be pulled"),
        ("CreateContainerConfigError", "secret \"gone\" not found", "something that does not exist"),
        ("CreateContainerError", "context deadline exceeded", "cannot be made"),
    ];
    for (reason, message, expected) in cases {
        let cause = waits(reason, message);
        assert!(cause.contains(expected) && cause.contains(reason) && cause.contains(message), "{cause}");
    }
    let unready = json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate.",
    }] });
    let found = cause(&view(vec![pod(unready)], vec![]));
    assert!(found.starts_with("no node has enough memory for `gateway` (Unschedulable)"), "{found}");
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage." });
    assert!(cause(&view(vec![pod(evicted)], vec![])).contains("(Evicted): The node was low on resource"));
}

#[test]
fn an_image_is_given_up_when_the_kubelet_says_that_it_backs_off_whatever_the_status_is_still() {
    let state =
        json!({ "waiting": { "reason": "ErrImagePull", "message": "failed to do request: connection refused" } });
    let with = |events| view(vec![pod(container_status(0, state.clone(), json!({})))], events);
    let failed = |message| event("Pod", "gateway-7f4-r7w", "Failed", message);
    let tried = waiting_for(&with(vec![failed("Error: ErrImagePull")]));
    assert!(tried.contains("connection refused"), "the first try may heal: {tried}");
    let found = cause(&with(vec![failed("Error: ImagePullBackOff")]));
    assert!(found.contains("cannot be pulled (ImagePullBackOff): failed to do request"), "{found}");
}

#[test]
fn a_program_that_ends_is_started_once_more_and_then_given_up() {
    let end = json!({ "terminated": { "exitCode": 2, "reason": "Error" } });
    let once = view(vec![pod(container_status(0, end.clone(), json!({})))], vec![]);
    assert!(matches!(workload("gateway", &once), State::Waiting(_)), "the first end may heal");
    let again = view(vec![pod(container_status(1, json!({ "running": {} }), end.clone()))], vec![]);
    assert!(matches!(workload("gateway", &again), State::Waiting(_)), "the second start is waited for");

    let back_off =
        json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container" } });
    let State::Dead(dead) = workload("gateway", &view(vec![pod(container_status(1, back_off.clone(), end))], vec![]))
    else {
        panic!("still waiting")
    };
    assert_eq!(dead.failure.cause, "`gateway` ended 2 times, the last time with exit code 2 (CrashLoopBackOff)");
    assert_eq!(dead.log_of, Some(("gateway-7f4-r7w".to_owned(), "main".to_owned(), true)));
    let killed = json!({ "terminated": { "exitCode": 139, "reason": "Error" } });
    let found = cause(&view(vec![pod(container_status(1, back_off, killed))], vec![]));
    assert!(found.contains("the last time with signal 11"), "{found}");
}

#[test]
fn memory_and_a_missing_program_are_told_from_other_ends() {
    let oom = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    for status in [container_status(0, oom.clone(), json!({})), container_status(1, json!({ "running": {} }), oom)] {
        let found = cause(&view(vec![pod(status)], vec![]));
        assert!(found.contains("more memory than its limit (OOMKilled, exit code 137)"), "{found}");
    }
    let message = "OCI runtime create failed: exec: \"/nope\": stat /nope: no such file or directory";
    let start = json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": message } });
    let waits = json!({ "waiting": { "reason": "RunContainerError", "message": message } });
    let found = cause(&view(vec![pod(container_status(0, waits, start))], vec![]));
    assert!(found.starts_with("the program of `gateway` cannot be started") && found.contains("stat /nope"), "{found}");
}

#[test]
fn who_does_not_get_a_pod_is_told_why() {
    let refused =
        |message: &str| cause(&view(vec![], vec![event("ReplicaSet", "gateway-5765f56698", "FailedCreate", message)]));
    let found = refused(
        "Error creating: pods \"gateway-57-27\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)",
    );
    assert!(
        found.starts_with("the cluster does not admit the pod of `gateway`") && found.contains("hostNetwork"),
        "{found}"
    );
    let found = refused(
        "Error creating: pods \"gateway-57-\" is forbidden: error looking up service account ns/gone: serviceaccount \"gone\" not found",
    );
    assert!(found.starts_with("the service account of `gateway` does not exist"), "{found}");
    // Of another workload whose name begins the same way, and of nobody yet.
    let other = view(vec![], vec![event("ReplicaSet", "gatewayx-57", "FailedCreate", "is forbidden")]);
    assert_eq!(waiting_for(&other), "its pod has not been made yet");
    let passing =
        view(vec![], vec![event("ReplicaSet", "gateway-57", "FailedCreate", "Timeout: request did not complete")]);
    assert!(waiting_for(&passing).contains("Timeout"));
}

#[test]
fn what_may_pass_is_given_time() {
    let creating = json!({ "phase": "Pending", "containerStatuses": [
        { "name": "main", "state": { "waiting": { "reason": "ContainerCreating" } } }
    ] });
    let mount = |message: &str| {
        view(vec![pod(creating.clone())], vec![event("Pod", "gateway-7f4-r7w", "FailedMount", message)])
    };
    let gone = mount("MountVolume.SetUp failed for volume \"v\" : configmap \"gone\" not found");
    assert!(
        matches!(workload("gateway", &gone), State::Suspect(dead, MOUNT_PATIENCE) if dead.failure.cause.contains("\"gone\""))
    );
    // Every cluster says so in its first seconds.
    let fresh =
        mount("MountVolume.SetUp failed for volume \"kube-api-access\" : configmap \"kube-root-ca.crt\" not found");
    assert!(waiting_for(&fresh).contains("ContainerCreating"));

    let tainted = json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
    }] });
    assert!(matches!(workload("gateway", &view(vec![pod(tainted)], vec![])), State::Suspect(_, SCHEDULER_PATIENCE)));

    let mut view = view(vec![pod(creating)], vec![]);
    let node = json!({ "metadata": { "name": "n" }, "status": { "conditions": [
        { "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status." }
    ] } });
    view.nodes.insert("n".to_owned(), serde_json::from_value(node).unwrap());
    let State::Suspect(dead, _) = workload("gateway", &view) else { panic!("the node is not looked at") };
    assert!(
        dead.failure.cause.contains("node `n` is not ready (NodeStatusUnknown): Kubelet stopped"),
        "{}",
        dead.failure.cause
    );
}

#[test]
fn a_pod_that_leaves_counts_no_more() {
    let ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    let mut leaving = pod(ready.clone());
    assert!(matches!(workload("gateway", &view(vec![leaving.clone()], vec![])), State::Ready));
    leaving.metadata.deletion_timestamp = Some("2026-11-24T11:52:37Z".to_owned());
    let view = view(vec![leaving], vec![]);
    assert_eq!(waiting_for(&view), "its pod has not been made yet");
    assert!(fallen("gateway", "gateway-7f4-r7w", 0, &view).unwrap().failure.cause.contains("was deleted"));
}

#[test]
fn a_program_that_ended_under_the_tests_is_told() {
    let end = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    let restarted = view(vec![pod(container_status(1, json!({ "running": {} }), end))], vec![]);
    let dead = fallen("gateway", "gateway-7f4-r7w", 0, &restarted).unwrap();
    assert_eq!(dead.failure.cause, "`gateway` ended by itself: signal 9 (OOMKilled)");
    assert!(fallen("gateway", "gateway-7f4-r7w", 1, &restarted).is_none(), "it had ended before it was ready");
}

#[test]
fn a_kubelet_that_has_not_heard_yet_of_what_was_applied_is_waited_for() {
    let message = "failed to sync secret cache: timed out waiting for the condition";
    let state = json!({ "waiting": { "reason": "CreateContainerConfigError", "message": message } });
    let state = workload("gateway", &view(vec![pod(container_status(0, state, json!({})))], vec![]));
    assert!(matches!(state, State::Waiting(_)), "{state:?}");
}
