//! States that no pod comes out of by itself, and two that it does.

use serde_json::{Value, json};

use crate::case::{Case, Ends, Told, at, nothing};
use crate::kit::{app, bare};
use crate::stage::When;
use crate::tamper;

/// Something in a deployment that is replaced before it can become ready.
fn patched(name: &'static str, pod: Value, container: Value, told: Told) -> Case {
    let (mut pod, mut container) = (pod, container);
    container["name"] = json!("main");
    pod["containers"] = json!([container]);
    let patch = json!({ "spec": { "template": { "spec": pod } } }).to_string();
    let act = at(When::Deployed, move |cluster, ground| {
        cluster.within(ground, &["patch", "deployment", &ground.workload, "--type", "strategic", "--patch", &patch]);
    });
    // What was deployed first never becomes ready, so it cannot be taken for what was to be seen.
    Case { name, pipeline: bare(name, "never-ready"), act, ends: Ends::Told(told) }
}

/// A service that brings itself into the state.
fn behaves(name: &'static str, behaviour: &str, told: Told) -> Case {
    Case { name, pipeline: bare(name, behaviour), act: nothing(), ends: Ends::Told(told) }
}

fn told(known: &'static str, cause: &'static [&'static str], evidence: &'static str, hint: &'static str) -> Told {
    Told { known: Some(known), cause, evidence, hint }
}

/// States of the image.
fn of_the_image() -> Vec<Case> {
    let cause = &["no image for `app` (ErrImageNeverPull)", "is not present"];
    let never = told("ErrImageNeverPull", cause, "ErrImageNeverPull", "removed it");
    let unload = at(When::Start, |cluster, ground| {
        tamper::unload(cluster, ground);
    });
    let image = |image: &str, policy: &str| json!({ "image": image, "imagePullPolicy": policy });
    vec![
        Case { name: "image-gone", pipeline: bare("image-gone", "ok"), act: unload, ends: Ends::Told(never) },
        patched(
            "image-away",
            json!({}),
            image("localhost/no-such:1", "Always"),
            told("ImagePullBackOff", &["(ImagePullBackOff)", "localhost/no-such:1"], "no-such", "never pulled"),
        ),
        patched(
            "image-misnamed",
            json!({}),
            image("localhost/UPPER:::x", "Never"),
            told("InvalidImageName", &["(InvalidImageName)", "UPPER"], "UPPER", "HOST/NAME@sha256"),
        ),
    ]
}

/// States of the program.
fn of_the_program() -> Vec<Case> {
    vec![
        behaves(
            "crashes",
            "exits",
            told(
                "CrashLoopBackOff",
                &["`app` ended 2 times, the last time with exit code 3 (CrashLoopBackOff)"],
                "cannot open the rule table: no such table",
                "last lines",
            ),
        ),
        behaves(
            "hungry",
            "hungry",
            told("OOMKilled", &["more memory than its limit (OOMKilled"], "reading the whole table", "raise the limit"),
        ),
        patched(
            "no-command",
            json!({}),
            json!({ "command": ["/no/such/program"] }),
            told("StartError", &["cannot be started", "/no/such/program"], "/no/such/program", "entrypoint"),
        ),
    ]
}

/// States of what a pod needs and does not find.
fn of_its_needs() -> Vec<Case> {
    let from = |what: &str| json!({ "env": [{ "name": "X", "valueFrom": { what: { "name": "gone", "key": "k" } } }] });
    let config = "CreateContainerConfigError";
    vec![
        patched(
            "no-secret",
            json!({}),
            from("secretKeyRef"),
            told(config, &["does not exist", "secret \"gone\" not found"], "secret \"gone\"", "before the pod"),
        ),
        patched(
            "no-config-map",
            json!({}),
            from("configMapKeyRef"),
            told(config, &["does not exist", "configmap \"gone\" not found"], "configmap \"gone\"", "before the pod"),
        ),
        patched(
            "no-account",
            json!({ "serviceAccountName": "gone" }),
            json!({}),
            told("FailedCreate", &["service account of `app`", "\"gone\" not found"], "gone", "before the deployment"),
        ),
        patched(
            "no-volume",
            json!({ "volumes": [{ "name": "v", "configMap": { "name": "gone" } }] }),
            json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }),
            told("FailedMount", &["volume of `app`", "configmap \"gone\" not found"], "FailedMount", "before the pod"),
        ),
        patched(
            "no-memory",
            json!({}),
            json!({ "resources": { "requests": { "memory": "900Gi" }, "limits": { "memory": "900Gi" } } }),
            told("Unschedulable", &["no node has enough memory for `app`"], "Insufficient memory", "ask for less"),
        ),
        patched(
            "not-admitted",
            json!({ "hostNetwork": true }),
            json!({}),
            told("FailedCreate", &["does not admit the pod of `app`", "hostNetwork=true"], "PodSecurity", "restricted"),
        ),
    ]
}

/// What can heal: a start that comes too early once, and a slow one.
fn that_heal() -> Vec<Case> {
    let heals = |name, behaviour| Case { name, pipeline: app(name, behaviour), act: nothing(), ends: Ends::Passes(1) };
    vec![heals("stumbles-once", "stumbles"), heals("starts-late", "late")]
}

/// All that leave the cluster as it is.
pub(crate) fn cases() -> Vec<Case> {
    [of_the_image(), of_the_program(), of_its_needs(), that_heal()].into_iter().flatten().collect()
}

/// A probe that fails until the time is over.
pub(crate) fn deadline() -> Case {
    let cause = &["not ready within 20 s: `app`: ", "`/readyz` answers 503", "the other database is away"];
    let evidence = "still waiting for the other database";
    behaves("never-ready", "never-ready", Told { known: None, cause, evidence, hint: "--ready-within" })
}

/// The node's kubelet falls silent. Afterwards it is well again.
pub(crate) fn kubelet() -> Case {
    let cause = &["`app` cannot run: node `", "is not ready (NodeStatusUnknown): Kubelet stopped posting node status"];
    let (stop, name) = (at(When::Deployed, |cluster, _| drop(cluster.sh("systemctl stop kubelet", &[]))), "no-kubelet");
    let start = at(When::Stop, |cluster, _| drop(cluster.sh("systemctl start kubelet", &[])));
    Case {
        name,
        pipeline: bare(name, "never-ready"),
        act: Box::new(move |when, cluster, ground| {
            stop(when, cluster, ground);
            start(when, cluster, ground);
        }),
        ends: Ends::Told(told("NodeStatusUnknown", cause, "", "journal of its kubelet")),
    }
}

/// The node stops, which no cluster survives.
pub(crate) fn node() -> Case {
    let (cause, name) = (&["the node `", "-control-plane` has stopped"], "no-node");
    Case {
        name,
        pipeline: bare(name, "never-ready"),
        act: at(When::Deployed, |cluster, ground| cluster.stop_node(ground)),
        ends: Ends::Told(told("stopped", cause, "", "look for what stopped its container")),
    }
}
