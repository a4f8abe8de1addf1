//! What a pipeline is in Kubernetes: a namespace that enforces Pod Security "restricted", and in it, per workload, a service
//! account without a token, a secret, a deployment of one pod, and a service.
//!
//! The image is named by its manifest's digest and never pulled: a pod runs what was loaded, or it does not start. The service
//! also leads to a pod that is not ready, so that its answer can be shown.
//!
//! The namespace and the services are applied while the images are still being built, so that their ways are open when the pods
//! come (unless told otherwise, kube-proxy opens ways at most once a second), and everything at once when the images are loaded.

use anyhow::Context;
use serde_json::{Value as Json, json};

use crate::workload::{Part, Pipeline, Port, Workload};

/// The label with the name of the workload.
pub(super) const WORKLOAD: &str = "app.kubernetes.io/name";
/// The label with the id of the run.
pub(super) const RUN: &str = "e2e.run";
/// The annotation with the fingerprint of the source.
pub(super) const FINGERPRINT: &str = "e2e/source-fingerprint";
/// The name of every workload's only container.
pub(super) const CONTAINER: &str = "main";
/// Where a workload that wants one finds its data directory.
const DATA_DIR: &str = "/data";
/// What a pod may use. The limit is far from what the services need and far from what a machine has.
const MEMORY_LIMIT: &str = "512Mi";

/// What is deployed of one workload.
pub(super) struct Deployment<'a> {
    pub(super) workload: &'a Workload,
    pub(super) outside: Outside,
    /// None as long as its image is not loaded: then there is only its service.
    pub(super) loaded: Option<Loaded>,
}

/// What is known of a workload when its image is loaded.
pub(super) struct Loaded {
    /// `NAME@sha256:<manifest>`.
    pub(super) image: String,
    pub(super) fingerprint: String,
    /// What the instance is told to call itself.
    pub(super) identity: String,
}

/// The way into the cluster to a workload.
pub(super) enum Outside {
    /// These node ports, one for each of the workload's ports, in their order.
    NodePorts(Vec<u16>),
    /// Node ports that the cluster chooses.
    AnyNodePorts,
    /// None through its service.
    Closed,
}

impl Deployment<'_> {
    /// The address of its service, where the cluster is one of ours: then it is ours to choose. Pods get it in their
    /// `/etc/hosts`, since the name server of a cluster that was just made answers only after five to ten seconds.
    fn address(&self) -> Option<String> {
        let Outside::NodePorts(ports) = &self.outside else { return None };
        // Kubernetes leaves the first 256 addresses of the range to those who choose (`ServiceIPStaticSubrange`); the lowest
        // are the API server's and the name server's.
        let number = ports.first()?.checked_sub(super::cluster::FIRST_NODE_PORT)? + 32;
        (number < 256).then(|| format!("10.96.0.{number}"))
    }
}

/// Where it is deployed.
pub(super) struct Target<'a> {
    pub(super) namespace: &'a str,
    pub(super) run: &'a str,
    pub(super) service: &'a str,
    /// Values of secrets, by name.
    pub(super) secret: &'a dyn Fn(&str) -> Option<String>,
    pub(super) deployments: Vec<Deployment<'a>>,
}

/// The objects that a pipeline becomes, as YAML (which JSON is) for people. Secrets, images and the id of the run are
/// placeholders: their values are made in each run and shown by none.
///
/// # Errors
/// If a value of a workload refers to something that does not exist.
pub fn render(pipeline: &Pipeline) -> anyhow::Result<String> {
    let secret = |name: &str| Some(format!("<secret {name}, random in each run>"));
    let namespace = format!("e2e-{}-{}", "0".repeat(12), pipeline.service());
    let ports = node_ports(pipeline, super::cluster::FIRST_NODE_PORT);
    let deployments: Vec<_> = pipeline
        .workloads()
        .iter()
        .zip(ports)
        .map(|(workload, node_ports)| Deployment {
            workload,
            outside: Outside::NodePorts(node_ports),
            loaded: Some(Loaded {
                image: format!("localhost/{}@sha256:{}", workload.name(), "0".repeat(64)),
                fingerprint: format!("sha256:{}", "0".repeat(64)),
                identity: "<random in each deployment>".to_owned(),
            }),
        })
        .collect();
    let run = "00000000-0000-0000-0000-000000000000";
    let target = Target { namespace: &namespace, run, service: pipeline.service(), secret: &secret, deployments };
    Ok(format!("{:#}\n", objects(&target)?))
}

/// A node port for each port of each workload.
pub(super) fn node_ports(pipeline: &Pipeline, first: u16) -> Vec<Vec<u16>> {
    let mut next = first..;
    pipeline.workloads().iter().map(|workload| next.by_ref().take(workload.ports().len()).collect()).collect()
}

/// Everything that is applied, in one list.
pub(super) fn objects(target: &Target) -> anyhow::Result<Json> {
    let mut items = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": target.namespace,
            "labels": {
                RUN: target.run,
                "e2e.service": target.service,
                "app.kubernetes.io/managed-by": "e2e",
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            },
        },
    })];
    for deployment in &target.deployments {
        items.extend(service(target, deployment));
        let Some(loaded) = &deployment.loaded else { continue };
        let object = |version, kind, rest| object(target, deployment, version, kind, rest);
        items.push(object("v1", "ServiceAccount", json!({ "automountServiceAccountToken": false })));
        let secrets = secrets(target, deployment)?;
        if !secrets.is_empty() {
            items.push(object("v1", "Secret", json!({ "stringData": secrets })));
        }
        let spec = deployment_spec(target, deployment, loaded)?;
        items.push(object("apps/v1", "Deployment", json!({ "spec": spec })));
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

fn labels(target: &Target, deployment: &Deployment) -> Json {
    let mut labels = json!({
        WORKLOAD: deployment.workload.name(),
        "app.kubernetes.io/managed-by": "e2e",
        RUN: target.run,
        "e2e.service": target.service,
    });
    if let Some(loaded) = &deployment.loaded {
        // A label holds at most 63 characters: the whole fingerprint is in an annotation.
        let fingerprint: String = loaded.fingerprint.trim_start_matches("sha256:").chars().take(12).collect();
        labels["e2e.fingerprint"] = json!(fingerprint);
    }
    labels
}

fn annotations(deployment: &Deployment) -> Json {
    deployment.loaded.as_ref().map_or(json!({}), |loaded| json!({ FINGERPRINT: loaded.fingerprint }))
}

fn object(target: &Target, deployment: &Deployment, version: &str, kind: &str, rest: Json) -> Json {
    let mut object = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": deployment.workload.name(),
            "namespace": target.namespace,
            "labels": labels(target, deployment),
            "annotations": annotations(deployment),
        },
    });
    if let (Json::Object(object), Json::Object(rest)) = (&mut object, rest) {
        object.extend(rest);
    }
    object
}

/// The text of a value inside the cluster.
fn resolve(target: &Target, deployment: &Deployment, value: &crate::Value) -> anyhow::Result<String> {
    let name = deployment.workload.name();
    value.resolve(|part| match part {
        Part::Text(text) => Ok(text.clone()),
        Part::Address { workload, port } => {
            let other = target.deployments.iter().find(|other| other.workload.name() == *workload);
            let number = other.and_then(|other| other.workload.port_named(port));
            let number = number.with_context(|| format!("`{workload}` has no port `{port}`"))?.number;
            Ok(format!("{workload}:{number}"))
        }
        Part::Secret(secret) => (target.secret)(secret)
            .with_context(|| format!("`{name}` wants the secret `{secret}`, which does not exist")),
        Part::Data(path) => Ok(format!("{DATA_DIR}{path}")),
        Part::ImagePath(path) => Ok(path.clone()),
    })
}

fn secrets(target: &Target, deployment: &Deployment) -> anyhow::Result<serde_json::Map<String, Json>> {
    let environment = deployment.workload.environment().iter().filter(|(_, value)| value.is_secret());
    environment
        .map(|(variable, value)| Ok((variable.clone(), Json::String(resolve(target, deployment, value)?))))
        .collect()
}

fn environment(target: &Target, deployment: &Deployment, loaded: &Loaded) -> anyhow::Result<Vec<Json>> {
    let name = deployment.workload.name();
    let mut all = vec![json!({ "name": "INSTANCE_ID", "value": loaded.identity })];
    if let Some(port) = deployment.workload.ports().first() {
        all.push(json!({ "name": "LISTEN_ADDR", "value": format!("0.0.0.0:{}", port.number) }));
    }
    for (variable, value) in deployment.workload.environment() {
        all.push(if value.is_secret() {
            json!({ "name": variable, "valueFrom": { "secretKeyRef": { "name": name, "key": variable } } })
        } else {
            json!({ "name": variable, "value": resolve(target, deployment, value)? })
        });
    }
    Ok(all)
}

fn deployment_spec(target: &Target, deployment: &Deployment, loaded: &Loaded) -> anyhow::Result<Json> {
    let workload = deployment.workload;
    let mut container = json!({
        "name": CONTAINER,
        "image": loaded.image,
        "imagePullPolicy": "Never",
        "env": environment(target, deployment, loaded)?,
        "resources": { "requests": { "cpu": "20m", "memory": "32Mi" }, "limits": { "cpu": "2", "memory": MEMORY_LIMIT } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    // Anyone may write to an emptyDir, whoever the image's user is.
    let mut writable = vec![("tmp".to_owned(), "/tmp")];
    writable.extend(workload.wants_data().then(|| ("data".to_owned(), DATA_DIR)));
    let scratch = workload.scratch_directories().iter().enumerate();
    writable.extend(scratch.map(|(number, path)| (format!("scratch-{number}"), path.as_str())));
    let mounts: Vec<_> = writable.iter().map(|(name, path)| json!({ "name": name, "mountPath": path })).collect();
    container["volumeMounts"] = json!(mounts);
    let volumes: Vec<_> = writable.iter().map(|(name, _)| json!({ "name": name, "emptyDir": {} })).collect();
    if let Some(first) = workload.ports().first() {
        let ports: Vec<_> =
            workload.ports().iter().map(|port| json!({ "name": port.name, "containerPort": port.number })).collect();
        container["ports"] = json!(ports);
        // What answers TCP is alive; restarting it because it is not ready would hide why it is not.
        let alive = json!({ "port": first.name });
        container["startupProbe"] = json!({ "tcpSocket": alive, "periodSeconds": 1, "failureThreshold": 120 });
        container["livenessProbe"] = json!({ "tcpSocket": alive, "periodSeconds": 10, "failureThreshold": 3 });
        let mut ready = json!({ "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 1 });
        match workload.ready_path() {
            Some(path) => ready["httpGet"] = json!({ "path": path, "port": first.name }),
            None => ready["tcpSocket"] = alive,
        }
        container["readinessProbe"] = ready;
    }
    let aliases = target.deployments.iter().filter_map(|other| {
        other.address().map(|address| json!({ "ip": address, "hostnames": [other.workload.name()] }))
    });
    let aliases: Vec<_> = aliases.collect();
    let selector = json!({ WORKLOAD: workload.name() });
    Ok(json!({
        "replicas": 1,
        "revisionHistoryLimit": 1,
        // Two pods at once would be two instances with data of their own.
        "strategy": { "type": "Recreate" },
        "selector": { "matchLabels": selector },
        "template": {
            "metadata": {
                "labels": labels(target, deployment),
                "annotations": annotations(deployment),
            },
            "spec": {
                "serviceAccountName": workload.name(),
                "automountServiceAccountToken": false,
                // Without this every service puts seven variables into the environment of every pod.
                "enableServiceLinks": false,
                "hostAliases": aliases,
                "terminationGracePeriodSeconds": 2,
                "securityContext": {
                    "runAsNonRoot": true,
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [container],
                "volumes": volumes,
            },
        },
    }))
}

/// The service of a workload; none without a port, and none that nobody calls: what kube-proxy opens first, the others wait for.
fn service(target: &Target, deployment: &Deployment) -> Option<Json> {
    let workload = deployment.workload;
    let is_called = || {
        let values = target.deployments.iter().flat_map(|other| other.workload.environment());
        let mut parts = values.flat_map(|(_, value)| value.parts());
        parts.any(|part| matches!(part, Part::Address { workload: called, .. } if called == workload.name()))
    };
    let is_closed = matches!(deployment.outside, Outside::Closed);
    if workload.ports().is_empty() || is_closed && !is_called() {
        return None;
    }
    let port = |port: &Port| json!({ "name": port.name, "port": port.number, "targetPort": port.name });
    let mut ports: Vec<_> = workload.ports().iter().map(port).collect();
    if let Outside::NodePorts(numbers) = &deployment.outside {
        for (port, number) in ports.iter_mut().zip(numbers) {
            port["nodePort"] = json!(number);
        }
    }
    let mut spec = json!({
        "type": if is_closed { "ClusterIP" } else { "NodePort" },
        "selector": { WORKLOAD: workload.name() },
        "ports": ports,
        // Who asks a workload that is not ready yet is told so by itself; the cluster learns of it a second or two later.
        "publishNotReadyAddresses": true,
    });
    if let Some(address) = deployment.address() {
        spec["clusterIP"] = json!(address);
    }
    Some(object(target, deployment, "v1", "Service", json!({ "spec": spec })))
}

#[cfg(test)]
mod tests;
