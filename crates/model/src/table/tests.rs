//! Cells against upstream's.

use super::*;

#[test]
fn durations_read_as_upstreams() {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    // apimachinery pkg/util/duration/duration_test.go
    for (seconds, want) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE, "10m"),
        (3 * HOUR - 1, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + MINUTE, "3h1m"),
        (8 * HOUR - 1, "7h59m"),
        (8 * HOUR, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (8 * DAY - 1, "7d23h"),
        (8 * DAY, "8d"),
        (2 * YEAR - 1, "729d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"),
        (8 * YEAR - 1, "7y364d"),
        (8 * YEAR, "8y"),
    ] {
        assert_eq!(human_duration(seconds), want, "{seconds}");
    }
}

#[test]
fn texts_with_numbers_are_whole_however_long() {
    let fraction = |part, whole| {
        let mut text = Str::default();
        text::fraction(&mut text, part, whole);
        text
    };
    assert_eq!(fraction(3, 12), "3/12");
    assert_eq!(fraction(-1, 0), "-1/0");
    assert_eq!(fraction(100, 1005), "100/1005");
    let long = fraction(i64::MIN, i64::MAX);
    assert_eq!(long, "-9223372036854775808/9223372036854775807");
}

#[test]
fn a_row_has_the_cells_that_a_version_has_columns_for() {
    let catalogue = crate::Catalogue::builtin(crate::catalogue::DEFAULT_MINOR).unwrap();
    let pods = catalogue.lookup("", "v1", "pods").unwrap();
    let pod = crate::value!({
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "name": "a"},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running"}
    });
    let row = |names: &[&str]| {
        let mut other: Resource = (**pods).clone();
        let of = |name: &&str| pods.columns.iter().find(|c| c.name == *name).cloned();
        let mut columns: Vec<Column> = names.iter().filter_map(of).collect();
        columns.push(Column {
            name: "Later".into(),
            ..columns[0].clone()
        });
        other.columns = columns.into();
        let cells = Printer::new(&other, 1_767_225_660).cells(&pod);
        let texts: Vec<_> = cells
            .iter()
            .map(|c| c.as_str().unwrap_or("-").to_owned())
            .collect();
        texts.join(" ")
    };
    assert_eq!(
        row(&pods::COLUMNS),
        "a 0/0 Running 0 60s <none> n <none> <none> -"
    );
    assert_eq!(row(&["Name", "Age", "Node", "Status"]), "a 60s n Running -");
    let usual = Printer::new(pods, 1_767_225_660);
    assert!(usual.in_order);
    assert_eq!(usual.cells(&pod).len(), 9);
}

/// kubernetes `pkg/printers/internalversion/printers.go` of v1.28.15, v1.31.14, v1.34.4 and v1.36.3
#[test]
fn columns_are_those_of_the_minor_version() {
    for (minor, group, plural, want) in [
        (28, "", "serviceaccounts", "Name Secrets Age"),
        (34, "", "serviceaccounts", "Name Secrets Age"),
        (36, "", "serviceaccounts", "Name Age"),
        (28, "", "resourcequotas", "Name Age Request Limit"),
        (34, "", "resourcequotas", "Name Request Limit Age"),
        (
            28,
            "",
            "persistentvolumeclaims",
            "Name Status Volume Capacity Access_Modes StorageClass Age VolumeMode",
        ),
        (
            31,
            "",
            "persistentvolumeclaims",
            "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode",
        ),
        (
            28,
            "batch",
            "jobs",
            "Name Completions Duration Age Containers Images Selector",
        ),
        (
            31,
            "batch",
            "jobs",
            "Name Status Completions Duration Age Containers Images Selector",
        ),
        (
            28,
            "batch",
            "cronjobs",
            "Name Schedule Suspend Active Last_Schedule Age Containers Images Selector",
        ),
        (
            31,
            "scheduling.k8s.io",
            "priorityclasses",
            "Name Value Global-Default Age",
        ),
        (
            36,
            "scheduling.k8s.io",
            "priorityclasses",
            "Name Value Global-Default Age PreemptionPolicy",
        ),
    ] {
        let catalogue = crate::Catalogue::builtin(minor).unwrap();
        let resource = catalogue.lookup(group, "v1", plural).unwrap();
        let names = columns(resource)
            .into_iter()
            .map(|c| c.name.replace(' ', "_"));
        let names: Vec<_> = names.collect();
        assert_eq!(names.join(" "), want, "{minor} {plural}");
    }
    let accounts = crate::Catalogue::builtin(28).unwrap();
    let accounts = accounts.lookup("", "v1", "serviceaccounts").unwrap();
    let account = crate::value!({
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "name": "a"},
        "secrets": [{"name": "b"}, {"name": "c"}]
    });
    let cells = Printer::new(accounts, 1_767_225_660).cells(&account);
    assert_eq!(cells, [Value::from("a"), Value::Int(2), Value::from("60s")]);
}

/// What changed with which version: kubernetes `pkg/printers/internalversion/printers.go`.
const CHANGED: [(u8, &str, &str, &str, &str, &str, &str); 6] = [
    (
        30,
        "autoscaling",
        "horizontalpodautoscalers",
        "Targets",
        r#"{"spec":{"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"averageUtilization":80}}}]}}"#,
        "<unknown>/80%",
        "cpu: <unknown>/80%",
    ),
    (
        31,
        "",
        "pods",
        "Status",
        r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"phase":"Failed"}}"#,
        "Terminating",
        "Failed",
    ),
    (
        34,
        "batch",
        "jobs",
        "Status",
        r#"{"status":{"conditions":[{"type":"SuccessCriteriaMet","status":"True"}]}}"#,
        "Running",
        "SuccessCriteriaMet",
    ),
    (
        35,
        "",
        "pods",
        "Status",
        r#"{"status":{"containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"Completed"}}},
            {"state":{"terminated":{"exitCode":1,"reason":"Error"}}}]}}"#,
        "Completed",
        "Error",
    ),
    (
        36,
        "",
        "nodes",
        "Kernel-Version",
        r#"{"status":{"nodeInfo":{"architecture":"amd64","kernelVersion":"6.1"}}}"#,
        "6.1",
        "6.1 (amd64)",
    ),
    (
        36,
        "networking.k8s.io",
        "ingressclasses",
        "Name",
        r#"{"metadata":{"name":"a","annotations":{"ingressclass.kubernetes.io/is-default-class":"true"}}}"#,
        "a",
        "a (default)",
    ),
];

#[test]
fn cells_are_those_of_the_minor_version() {
    for (since, group, plural, column, object, before, after) in CHANGED {
        let object = crate::json::parse(object.as_bytes()).unwrap().value;
        let version = if group == "autoscaling" { "v2" } else { "v1" };
        for (minor, want) in [(since - 1, before), (since, after)] {
            let catalogue = crate::Catalogue::builtin(minor).unwrap();
            let resource = catalogue.lookup(group, version, plural).unwrap();
            let cells = Printer::new(resource, 0).cells(&object);
            let mut names = columns(resource).into_iter().map(|c| c.name);
            let at = names.position(|name| name == column).unwrap();
            assert_eq!(cells[at].as_str(), Some(want), "{minor} {plural}");
        }
    }
}
