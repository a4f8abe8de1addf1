//! What a pipeline may say, and what is refused.

use super::*;

#[test]
fn a_reference_to_nothing_is_refused_with_what_exists() {
    let pipeline = Pipeline::new("gateway")
        .workload(Workload::cargo("datastorage").port("http", 8080))
        .workload(Workload::cargo("gateway").env("DATASTORAGE_URL", endpoint("datastorage", "grpc")));
    let error = pipeline.validate().unwrap_err().to_string();
    assert!(error.contains("`DATASTORAGE_URL`") && error.contains("there are: `datastorage` `http`"), "{error}");
    let twice = Pipeline::new("a").workload(Workload::cargo("b")).workload(Workload::cargo("b"));
    assert!(twice.validate().unwrap_err().to_string().contains("two workloads called `b`"));
}

#[test]
fn a_containerfile_copies_its_files_itself_and_from_the_workspace_only() {
    let check = |workload: Workload| {
        Pipeline::new("a").workload(workload.port("http", 8080)).validate().map_err(|error| error.to_string())
    };
    assert_eq!(check(Workload::containerfile("b", "services/b").build_arg("A", "1")), Ok(()));
    assert_eq!(check(Workload::containerfile("b", ".").containerfile_path("services/b/Dockerfile")), Ok(()));
    let error = check(Workload::containerfile("b", "b").file("/x", "x")).unwrap_err();
    assert!(error.contains("copy its files and certificates there"), "{error}");
    for outside in ["/b", "../b", "b/../..", ""] {
        let error = check(Workload::containerfile("b", outside)).unwrap_err();
        assert!(error.contains("must be a folder of the workspace"), "{outside}: {error}");
    }
    // Nor is a reference more than a reference.
    assert_eq!(check(Workload::image("b", "docker.io/library/b:1.2@sha256:00ff").scratch("/run/b")), Ok(()));
    for wrong in ["", "b c", "b\nRUN x", "$B", "--platform=x"] {
        let error = check(Workload::image("b", wrong)).unwrap_err();
        assert!(error.contains("is no image"), "{wrong}: {error}");
    }
    assert!(check(Workload::image("b", "b").file("/x", "x")).unwrap_err().contains("nothing is packed"));
    for wrong in ["run", "/", "/run/../etc"] {
        let error = check(Workload::image("b", "b").scratch(wrong)).unwrap_err();
        assert!(error.contains("must be an absolute path"), "{wrong}: {error}");
    }
    assert!(check(Workload::image("b", "b").scratch("/x").scratch("/x")).unwrap_err().contains("be there once"));
}

#[test]
fn a_workload_can_be_changed_and_what_is_set_twice_counts_once() {
    let pipeline = Pipeline::new("a").workload(Workload::cargo("b").env("URL", "one").env("X", "y"));
    let pipeline =
        pipeline.change("b", |b| b.env("URL", "two").tcp_port("sql", 5432)).change("none", |none| none.data());
    let [b] = pipeline.workloads() else { panic!("{pipeline:?}") };
    assert_eq!(b.environment(), [("X".to_owned(), "y".into()), ("URL".to_owned(), "two".into())]);
    assert_eq!((b.ready_path(), b.wants_data()), (None, false));
    assert_eq!(b.ports()[0].url("127.0.0.1:1"), "tcp://127.0.0.1:1");
}
