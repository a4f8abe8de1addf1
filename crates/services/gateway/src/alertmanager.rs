//! AlertManager's webhook body, version 4
//! (<https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>).

use serde::Deserialize;
use service_kit::Problem;

use crate::signal::{Signal, Texts, name, namespace, time};

/// The most alerts in one body. AlertManager's `max_alerts` limits a group on its side.
const ALERTS_MAX: usize = 500;

/// Which label tells the object that has the problem, first match first.
///
/// A workload comes before its pods, so that ten pods of one deployment are one problem; and because kube-state-metrics adds the
/// pod that it runs in itself to whatever it says about a deployment. `job` is missing on purpose: it is the scrape job.
const RESOURCE_LABELS: [(&str, &str); 9] = [
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("pod", "Pod"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("node", "Node"),
    ("namespace", "Namespace"),
];

/// The body. Members that the gateway does not need are not read.
#[derive(Deserialize)]
pub(crate) struct Webhook {
    version: String,
    alerts: Vec<Alert>,
}

/// One alert of the body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    status: Status,
    labels: Texts,
    #[serde(default)]
    annotations: Texts,
    starts_at: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

impl Webhook {
    /// The alerts, if the body is of version 4 and has any.
    pub(crate) fn alerts(self) -> Result<Vec<Alert>, Problem> {
        if self.version != "4" {
            return Err(Problem::invalid("version", "only version 4 of the webhook body is understood"));
        }
        match self.alerts.len() {
            1..=ALERTS_MAX => Ok(self.alerts),
            count => Err(Problem::invalid("alerts", format!("1 to {ALERTS_MAX} alerts are allowed, here are {count}"))),
        }
    }
}

impl Alert {
    /// The signal that this alert is; `at` is where it stands, as in `alerts[0].`.
    pub(crate) fn signal(self, at: &str) -> Result<Signal, Problem> {
        let label = |key: &str| self.labels.get(key).map_or("", String::as_str);
        let field = |key: &str| format!("{at}labels.{key}");
        let resource = RESOURCE_LABELS.iter().find(|(key, _)| !label(key).is_empty());
        let (resource_kind, resource_name) = match resource {
            Some((key, kind)) => ((*kind).to_owned(), name(&field(key), label(key))?),
            None => ("Cluster".to_owned(), label("cluster").to_owned()),
        };
        let started = match &self.starts_at {
            Some(text) => Some(time(&format!("{at}startsAt"), text)?),
            None => None,
        };
        Ok(Signal {
            kind: "alert",
            source: "alertmanager",
            name: name(&field("alertname"), label("alertname"))?,
            severity: match label("severity") {
                "" => "unknown".to_owned(),
                severity => name(&field("severity"), severity)?,
            },
            cluster: match label("cluster") {
                "" => String::new(),
                cluster => name(&field("cluster"), cluster)?,
            },
            namespace: namespace(&field("namespace"), label("namespace"))?,
            resource_kind,
            resource_name,
            started,
            started_field: "startsAt",
            resolved: self.status == Status::Resolved,
            labels: self.labels,
            annotations: self.annotations,
        })
    }
}
