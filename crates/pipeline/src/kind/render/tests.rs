//! What is applied, looked at as Kubernetes and a reviewer would.

use super::*;
use crate::workload::{address, data, endpoint, secret};

fn list() -> Json {
    let store = Workload::cargo("store")
        .port("http", 8080)
        .env("DATABASE", crate::Value::from("sqlite://").then(data("/x.db")))
        .data();
    let app = Workload::cargo("app")
        .port("http", 9000)
        .ready("/up")
        .env("STORE", endpoint("store", "http"))
        .env("URL", crate::Value::from("postgres://u:").then(secret("password")).then("@h/d"));
    serde_json::from_str(&render(&Pipeline::new("app").workload(store).workload(app)).unwrap()).unwrap()
}

fn find<'a>(list: &'a Json, kind: &str, name: &str) -> &'a Json {
    let items = list["items"].as_array().unwrap();
    items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name).unwrap()
}

#[test]
fn a_pod_meets_the_restricted_standard_and_is_never_pulled() {
    let list = list();
    assert_eq!(list["items"][0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let pod = &find(&list, "Deployment", "app")["spec"]["template"]["spec"];
    // Pod Security Standards, "Restricted".
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(container["imagePullPolicy"], "Never");
    let image = container["image"].as_str().unwrap();
    assert!(image.starts_with("localhost/app@sha256:"), "by digest: {image}");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/up");
    assert!(
        container["resources"]["limits"]["memory"].is_string() && container["resources"]["requests"]["cpu"].is_string()
    );
}

#[test]
fn values_are_resolved_inside_the_cluster_and_secrets_are_in_a_secret() {
    let list = list();
    let env = |name: &str| find(&list, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let value =
        |env: &Json, name: &str| env.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!(value(&env("app"), "STORE")["value"], "http://store:8080");
    assert_eq!(value(&env("app"), "LISTEN_ADDR")["value"], "0.0.0.0:9000");
    assert_eq!(value(&env("store"), "DATABASE")["value"], "sqlite:///data/x.db");
    let url = value(&env("app"), "URL");
    assert_eq!(url["valueFrom"]["secretKeyRef"], json!({ "name": "app", "key": "URL" }));
    assert!(url["value"].is_null());
    assert_eq!(
        find(&list, "Secret", "app")["stringData"]["URL"],
        "postgres://u:<secret password, random in each run>@h/d"
    );
    let mounts =
        find(&list, "Deployment", "store")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].clone();
    assert!(mounts.as_array().unwrap().iter().any(|mount| mount["mountPath"] == "/data"));
}

#[test]
fn every_port_has_a_node_port_of_its_own_that_also_leads_to_a_pod_that_is_not_ready() {
    let list = list();
    let service = |name: &str| find(&list, "Service", name)["spec"].clone();
    assert_eq!(service("store")["ports"][0]["nodePort"], 30080);
    assert_eq!(service("app")["ports"][0]["nodePort"], 30081);
    assert_eq!(service("app")["publishNotReadyAddresses"], true);
}

/// Before its image is loaded there is the way to a workload; where no port leads in from outside, to what others call.
#[test]
fn the_services_of_what_is_called_are_there_before_the_images() {
    let store = Workload::cargo("store").port("http", 8080);
    let app = Workload::cargo("app").port("http", 9000).env("STORE", endpoint("store", "http"));
    let names = |outside: fn() -> Outside| {
        let deployments = [&store, &app].map(|workload| Deployment { workload, outside: outside(), loaded: None });
        let secret = |_: &str| None;
        let deployments = deployments.into_iter().collect();
        let target = Target { namespace: "n", run: "r", service: "app", secret: &secret, deployments };
        let list = objects(&target).unwrap();
        let kinds = list["items"].as_array().unwrap().iter().map(|item| {
            assert!(item["metadata"]["labels"]["e2e.fingerprint"].is_null(), "nothing is known of the image yet");
            format!("{} {}", item["kind"], item["metadata"]["name"]).replace('"', "")
        });
        kinds.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(names(|| Outside::AnyNodePorts), "Namespace n, Service store, Service app");
    assert_eq!(names(|| Outside::Closed), "Namespace n, Service store");
}

#[test]
fn the_names_of_the_workloads_need_no_name_server() {
    let list = list();
    let address = find(&list, "Service", "store")["spec"]["clusterIP"].clone();
    assert_eq!(address, "10.96.0.32");
    let aliases = &find(&list, "Deployment", "app")["spec"]["template"]["spec"]["hostAliases"];
    assert!(aliases.as_array().unwrap().contains(&json!({ "ip": address, "hostnames": ["store"] })), "{aliases}");
    assert_ne!(find(&list, "Service", "app")["spec"]["clusterIP"], address);
}

#[test]
fn every_label_is_one_that_kubernetes_takes() {
    let list = list();
    for item in list["items"].as_array().unwrap() {
        for (key, value) in item["metadata"]["labels"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let valid = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            assert!(value.len() <= 63 && valid, "{key}: {value}");
        }
    }
}

/// An image of others, with all that it may ask for.
#[test]
fn an_image_of_others_gets_directories_to_write_to_and_is_ready_when_its_port_is_open() {
    let broker = Workload::image("broker", "docker.io/library/broker:1.2").user(999).tcp_port("amqp", 5672);
    let broker = broker.env("DIR", data("/queue")).data().scratch("/var/run/broker");
    let app = Workload::cargo("app").port("http", 9000).env("BROKER", address("broker", "amqp"));
    let list = render(&Pipeline::new("app").workload(app).workload(broker)).unwrap();
    let list = serde_json::from_str(&list).unwrap();
    let pod = &find(&list, "Deployment", "broker")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert!(container["image"].as_str().unwrap().starts_with("localhost/broker@sha256:"), "under a tag of the run");
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
    let mounts = [mount("tmp", "/tmp"), mount("data", "/data"), mount("scratch-0", "/var/run/broker")];
    assert_eq!(container["volumeMounts"], json!(mounts));
    let volumes: Vec<_> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
    assert_eq!(volumes, ["tmp", "data", "scratch-0"]);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["tcpSocket"]["port"], "amqp", "{probe}");
        assert!(container[probe]["httpGet"].is_null(), "{probe}");
    }
    let env = find(&list, "Deployment", "app")["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    assert!(env.as_array().unwrap().contains(&json!({ "name": "BROKER", "value": "broker:5672" })), "{env}");
}
