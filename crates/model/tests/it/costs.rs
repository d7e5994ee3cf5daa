//! What one request costs here: `cargo test --release -p freehold-model --test it costs -- --ignored --nocapture`.

use freehold_model::apply::{Applier, apply};
use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR};
use freehold_model::{Value, crd, json, patch, strategic, table};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

fn parse(text: &str) -> Value {
    json::parse(text.as_bytes()).expect("json").value
}

/// Prints the best of twenty rounds: other work on the machine only ever adds to it.
#[allow(clippy::print_stdout, reason = "the numbers are what this is for")]
fn each(what: &str, runs: u32, mut run: impl FnMut()) {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..runs {
            run();
        }
        start.elapsed() / runs
    };
    let best = (0..20).map(round).min().unwrap_or_default();
    println!("{what}: {best:?}");
}

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"default",
"labels":{"app":"web","tier":"front"},"annotations":{"a":"b"}},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},
"template":{"metadata":{"labels":{"app":"web"}},"spec":{"serviceAccountName":"web","volumes":[{"name":"c","configMap":{"name":"c"}}],
"containers":[{"name":"web","image":"nginx:1","ports":[{"containerPort":80,"protocol":"TCP","name":"http"},{"containerPort":443,"protocol":"TCP","name":"https"}],
"env":[{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"C","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],
"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"memory":"128Mi"}},
"volumeMounts":[{"name":"c","mountPath":"/c"}],"readinessProbe":{"httpGet":{"path":"/","port":"http"}}},
{"name":"log","image":"log:1","args":["-v"]}]}}}}"#;

#[test]
#[ignore = "measures; run with --release"]
#[allow(clippy::too_many_lines, reason = "one list of measurements")]
fn costs() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let deployment = catalogue
        .lookup("apps", "v1", "deployments")
        .expect("deployments");
    let by = Applier {
        manager: "kubectl",
        force: false,
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    };
    let config = parse(DEPLOYMENT);
    let live = apply(deployment, None, &config, &by).expect("applies");
    let mut changed = config.clone();
    changed.set(&["spec", "replicas"], Value::from(5));
    each("apply of a changed deployment", 250, || {
        black_box(apply(deployment, Some(&live), &changed, &by)).expect("applies");
    });
    let change = parse(
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}"#,
    );
    each("strategic patch of an image", 500, || {
        let mut object = live.clone();
        strategic::strategic_merge(&deployment.types, deployment.root, &mut object, &change)
            .expect("fits");
        black_box(object);
    });
    each("merge patch of an image", 500, || {
        let mut object = live.clone();
        patch::merge_patch(&mut object, &change).expect("fits");
        black_box(object);
    });
    let pods = catalogue.lookup("", "v1", "pods").expect("pods");
    let pod = parse(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z"},
        "spec":{"nodeName":"n","containers":[{"name":"a"},{"name":"b"}]},"status":{"phase":"Running","podIP":"10.0.0.1",
        "containerStatuses":[{"name":"a","ready":true,"restartCount":1,"state":{"running":{}}},
        {"name":"b","ready":false,"restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#,
    );
    let printer = table::Printer::new(pods, 1_800_000_000);
    each("table row of a pod", 5000, || {
        black_box(printer.cells(black_box(&pod)));
    });
    let mut fields = String::new();
    for i in 0..200 {
        let comma = if i == 0 { "" } else { "," };
        write!(
            fields,
            r#"{comma}"f{i}":{{"type":"string","maxLength":63,"pattern":"^[a-z]{{1,{}}}$"}}"#,
            i % 9 + 1
        )
        .expect("text");
    }
    let definition = parse(&format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"ws.e.org"}},
        "spec":{{"group":"e.org","scope":"Namespaced","names":{{"plural":"ws","singular":"w","kind":"W","listKind":"WList"}},
        "versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object",
        "properties":{{"spec":{{"type":"object","properties":{{{fields}}}}}}}}}}}}}]}}}}"#
    ));
    each("compiling a definition of 200 fields", 5, || {
        assert!(
            crd::compile(
                black_box(&definition),
                freehold_model::catalogue::DEFAULT_MINOR
            )
            .is_ok()
        );
    });
    let compiled =
        crd::compile(&definition, freehold_model::catalogue::DEFAULT_MINOR).expect("compiles");
    let object = parse(
        r#"{"apiVersion":"e.org/v1","kind":"W","metadata":{"name":"a"},"spec":{"f1":"a","f2":"b","f3":"c","f4":"d"}}"#,
    );
    each("validating a custom object", 500, || {
        black_box(crd::validate(&compiled.resources[0], &object, None));
    });
}
