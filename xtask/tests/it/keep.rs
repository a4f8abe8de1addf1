//! `--keep`: what was tested stays and can be asked, until `clean` is told to end it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use supervise::find_marked;

use crate::kit::{Real, scratch, workspace};
use crate::ran::Ran;

/// Ends what was kept, whatever the test makes of it.
struct Kept<'a> {
    real: &'a Real,
    ran: Ran,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        drop(self.real.ask(&["clean", self.ran.id()]));
    }
}

#[test]
fn what_is_kept_answers_until_it_is_ended() {
    let real = Real::take();
    let (answer, ran) = real.e2e(&["gateway", "--keep", "--", "service::"]);
    let kept = Kept { real: &real, ran };
    let (answer, ran) = (answer.expect(0), &kept.ran);
    let urls = BTreeMap::from(["datastorage", "gateway"].map(|workload| (workload, ran.url(workload))));
    for (workload, url) in &urls {
        answer.says(&[url.as_str()]);
        let version: Value = serde_json::from_str(&get(&format!("{url}/version"))).unwrap();
        assert_eq!(version["service"], *workload);
    }
    let clean = format!("cargo xtask clean {}", ran.id());
    answer.says(&["left running", clean.as_str()]);
    let processes = find_marked("E2E_RUN", ran.id());
    assert_eq!(processes.len(), 2, "the two workloads and nothing else");
    only_its_owner_can_read_its_secrets(ran, &answer.err);
    verify(&real, ran);

    // It was asked for: who cleans up in general does not mean it.
    let all = real.ask(&["clean"]).expect(0);
    all.says(&["not touched: it was kept on purpose", clean.as_str()]);
    assert_eq!(find_marked("E2E_RUN", ran.id()), processes);
    get(&format!("{}/healthz", urls["gateway"]));

    real.ask(&["clean", ran.id()]).expect(0).says(&["removed processes of the run", "removed directory"]);
    ran.nothing_left();
    for url in urls.values() {
        let address = url.trim_start_matches("http://");
        assert!(TcpStream::connect(address).is_err(), "{address} is closed");
    }
    let again = real.ask(&["clean", ran.id()]).expect(0);
    assert!(!again.err.contains("removed"), "{}", again.err);
    real.ask(&["clean"]).expect(0).says(&["nothing was left behind"]);
}

fn get(url: &str) -> String {
    let response = minreq::get(url).with_timeout(10).send().unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!(response.status_code, 200, "{url}");
    response.as_str().unwrap().to_owned()
}

/// The tokens are in one file, for who may read it, and in nothing that stays or is shown.
fn only_its_owner_can_read_its_secrets(ran: &Ran, shown: &str) {
    let path = ran.dir.join("work/gateway/run.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let secrets: Vec<_> =
        file["secrets"].as_object().unwrap().values().map(|secret| secret.as_str().unwrap()).collect();
    assert_eq!(secrets.len(), 2);
    for path in files(&ran.dir).iter().filter(|path| !path.starts_with(ran.dir.join("work"))) {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{} tells a secret", path.display());
    }
    assert!(secrets.iter().all(|secret| !shown.contains(secret)));
    let token = format!("Bearer {}", file["secrets"]["datastorage-token"].as_str().unwrap());
    let events = format!("{}/api/v1/audit/events", ran.url("datastorage"));
    let ask = |token: &str| minreq::get(&events).with_header("Authorization", token).with_timeout(10).send().unwrap();
    assert_eq!((ask(&token).status_code, ask("Bearer x").status_code), (200, 401), "it is the token");
}

/// What was tested is recognised by its content, wherever it lies and whatever it is called.
fn verify(real: &Real, ran: &Ran) {
    let executable = fs::read_link(format!("/proc/{}/exe", ran.workload("datastorage"))).unwrap();
    let ask = |run: &str, what: &Path| real.ask(&["verify", run, what.to_str().unwrap()]);
    for run in ["latest", ran.id()] {
        ask(run, &executable).expect(0).says(&["yes", "datastorage"]);
    }
    let copy = scratch("copy");
    fs::copy(&executable, &copy).unwrap();
    ask("latest", &copy).expect(0).says(&["yes"]);
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    ask("latest", &copy).expect(1).says(&["no"]);
    fs::remove_file(&copy).unwrap();
    ask("latest", &workspace().join("Cargo.toml")).expect(1).says(&["no"]);
    ask("latest", Path::new(env!("CARGO_BIN_EXE_xtask"))).expect(1).says(&["no"]);
    ask("latest", &copy).expect(3).says(&["neither a file nor an image"]);
    ask("0199c3f2", &executable).expect(3).says(&["there is no run `0199c3f2`"]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let nested = entries
        .map(|entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { vec![entry.path()] });
    nested.flatten().filter(|path| path.is_file()).collect()
}
