//! What can be known about a signal beyond what it says: the workload that it is about, the application, all labels together.

use serde::Serialize;

use crate::input::{Owner, Submission, Texts};

/// Labels that name the application, first match first. The first is the recommended one
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>).
const APPLICATION_LABELS: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];

/// The characters of the random part of a pod's name (Kubernetes `k8s.io/apimachinery/pkg/util/rand`): no vowels, so that no
/// words appear, and nothing that looks like one.
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";

/// What is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Context {
    pub(crate) namespace: String,
    pub(crate) owner: Option<Owner>,
    /// `given`, `derived` from the name of a pod, or `none`.
    #[serde(rename = "ownerSource")]
    pub(crate) owner_source: &'static str,
    pub(crate) application: Option<String>,
    /// Labels of the signal, and over them those of the namespace.
    pub(crate) labels: Texts,
    /// The labels of the namespace were not given, so the environment rests on names alone.
    pub(crate) degraded: bool,
}

/// Adds what can be known.
pub(crate) fn enrich(submission: &Submission) -> Context {
    let signal = &submission.signal;
    let target = &signal.target_resource;
    let given = &submission.context;
    let mut labels = signal.labels.clone();
    // Who may label a namespace answers for it; labels of an alert are whatever the exporter says.
    labels.extend(given.namespace_labels.clone().unwrap_or_default());
    let derived = if target.kind == "Pod" { workload(&target.name) } else { None };
    let (owner, owner_source) = match (&given.owner, derived) {
        (Some(owner), _) => (Some(owner.clone()), "given"),
        (None, Some(owner)) => (Some(owner), "derived"),
        (None, None) => (None, "none"),
    };
    let application = APPLICATION_LABELS.iter().find_map(|key| signal.labels.get(*key)).cloned();
    Context {
        namespace: target.namespace.clone(),
        application: application.or_else(|| owner.as_ref().map(|owner| owner.name.clone())),
        owner,
        owner_source,
        labels,
        degraded: given.namespace_labels.is_none(),
    }
}

/// The workload that made a pod, by the form of the pod's name: `NAME-<hash>-<5 random>` is a Deployment's, `NAME-<number>` a
/// StatefulSet's. Names are a convention, so the context says that the owner was derived.
fn workload(pod: &str) -> Option<Owner> {
    let owner = |kind: &str, name: &str| Some(Owner { kind: kind.to_owned(), name: name.to_owned() });
    let (rest, last) = pod.rsplit_once('-')?;
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty() {
        return owner("StatefulSet", rest);
    }
    let random = |text: &str| text.chars().all(|char| RANDOM.contains(char));
    let (name, hash) = rest.rsplit_once('-')?;
    // The hash of a pod template is a 32-bit number in decimal digits, each replaced by one of those characters.
    let deployment =
        last.len() == 5 && random(last) && (8..=10).contains(&hash.len()) && random(hash) && !name.is_empty();
    if deployment { owner("Deployment", name) } else { None }
}
