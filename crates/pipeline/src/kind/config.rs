//! How a cluster is configured that is made for a run.

use serde_json::json;

/// What kind is told: a port on this machine for each node port, chosen by the engine.
pub(super) fn config(node_ports: &[u16], workers: u32) -> String {
    let mapping =
        |port: &u16| json!({ "containerPort": port, "hostPort": -1, "listenAddress": "127.0.0.1", "protocol": "TCP" });
    let mut nodes = vec![json!({
        "role": "control-plane",
        "extraPortMappings": node_ports.iter().map(mapping).collect::<Vec<_>>(),
    })];
    nodes.extend((0..workers).map(|_| json!({ "role": "worker" })));
    // kind's own default; said because addresses in it are chosen here.
    let networking = json!({ "serviceSubnet": "10.96.0.0/16" });
    json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": networking,
        "kubeadmConfigPatches": patches(),
        "nodes": nodes,
    })
    .to_string()
}

/// What makes a cluster of minutes ready sooner, and changes nothing of what it does. A node whose kubeadm takes its
/// configuration in another version is left as it is: kind applies a patch to what has its version and kind.
fn patches() -> [String; 2] {
    // There is one of each, and an election that begins before the API server grants rights is tried again after three seconds.
    let alone = json!({ "leader-elect": "false" });
    // Each controller is started after a few questions; with twenty a second, that of deployments has its turn after two seconds.
    let quick = json!({ "leader-elect": "false", "kube-api-qps": "200", "kube-api-burst": "400" });
    let control_plane = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta3",
        "kind": "ClusterConfiguration",
        "controllerManager": { "extraArgs": quick },
        "scheduler": { "extraArgs": alone },
    });
    // By default a way is opened at most once a second, which saves work where there are thousands.
    let ways = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "iptables": { "minSyncPeriod": "0s" },
    });
    [control_plane.to_string(), ways.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_left_to_the_engine_on_the_loopback_address() {
        let config: serde_json::Value = serde_json::from_str(&config(&[30080, 30081], 2)).unwrap();
        let mappings = config["nodes"][0]["extraPortMappings"].as_array().unwrap();
        assert_eq!(mappings.len(), 2);
        assert!(mappings.iter().all(|m| m["hostPort"] == -1 && m["listenAddress"] == "127.0.0.1"));
        assert_eq!(config["nodes"].as_array().unwrap().len(), 3);
    }
}
