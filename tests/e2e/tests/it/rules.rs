//! Real kubectl on what it reads from OpenAPI, on ownership of fields, and on rules of definitions.

use crate::kubectl::cluster;
use freehold_e2e::{json, needs_kubectl};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.example/web:1'}]}
";

#[test]
fn explain_names_every_field_with_its_type() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let all = sandbox.kubectl(&k, &["explain", "deployment", "--recursive"]);
    let all = all.ok();
    for line in [
        "GROUP:      apps",
        "KIND:       Deployment",
        "    selector\t<LabelSelector> -required-",
        "    strategy\t<DeploymentStrategy>",
        "        containers\t<[]Container> -required-",
        "          imagePullPolicy\t<string>",
        "          enum: Always, IfNotPresent, Never",
        "          livenessProbe\t<Probe>",
        "          resources\t<ResourceRequirements>",
    ] {
        assert!(all.contains(line), "{line}: {all}");
    }
    let fields = all.lines().filter(|l| l.contains("\t<")).count();
    assert!(fields > 900, "{fields} fields");
    let one = sandbox.kubectl(&k, &["explain", "pod.spec.containers.ports.hostPort"]);
    let one = one.ok();
    assert!(one.contains("FIELD: hostPort <integer>"), "{one}");
    let other = [
        "explain",
        "hpa.spec.metrics",
        "--api-version=autoscaling/v2",
    ];
    let other = sandbox.kubectl(&k, &other).ok();
    assert!(other.contains("containerResource\t<"), "{other}");
    let wrong = sandbox
        .kubectl(&k, &["explain", "pod.spec.nothing"])
        .fails(1);
    assert!(
        wrong.contains("field \"nothing\" does not exist"),
        "{wrong}"
    );
}

#[test]
fn diff_shows_what_an_apply_would_change() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.apply(&k, DEPLOYMENT).done();
    let diff = |args: &[&str], input: &str| {
        let mut all = vec!["diff"];
        all.extend(args);
        all.extend(["-f", "-"]);
        sandbox.kubectl_input(&k, &all, Some(input))
    };
    assert_eq!(diff(&[], DEPLOYMENT).ok(), "");
    let three = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
    let run = diff(&[], &three);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for line in [
        "-  replicas: 2",
        "+  replicas: 3",
        "-  generation: 1",
        "+  generation: 2",
    ] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
    let run = diff(&["--server-side", "--force-conflicts"], &three);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("+  replicas: 3"), "{}", run.stdout);
    let still = sandbox.kubectl(
        &k,
        &["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"],
    );
    assert_eq!(still.ok(), "2");
}

#[test]
fn server_side_apply_shares_fields_and_names_who_has_them() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let apply = |manager: &str, more: &[&str], input: &str| {
        let manager = format!("--field-manager={manager}");
        let mut all = vec!["apply", "--server-side", &manager, "-f", "-"];
        all.extend(more);
        sandbox.kubectl_input(&k, &all, Some(input))
    };
    let done = apply("one", &[], DEPLOYMENT).ok();
    assert_eq!(done.trim(), "deployment.apps/web serverside-applied");
    let labels = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {team: two}}
spec: {replicas: 5}
";
    let conflict = apply("two", &[], labels).fails(1);
    assert!(
        conflict.contains("conflict with \"one\": .spec.replicas"),
        "{conflict}"
    );
    apply("two", &["--force-conflicts"], labels).done();
    let conflict = apply("one", &[], DEPLOYMENT).fails(1);
    assert!(
        conflict.contains("conflict with \"two\": .spec.replicas"),
        "{conflict}"
    );
    let rest = DEPLOYMENT.replace("  replicas: 2\n", "");
    apply("one", &[], &rest).done();
    let shown = [
        "get",
        "deploy",
        "web",
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let object = json(&sandbox.kubectl(&k, &shown).ok());
    assert_eq!(object["spec"]["replicas"], 5);
    let managers: Vec<&str> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["operation"] == "Apply")
        .map(|m| m["manager"].as_str().unwrap())
        .collect();
    assert_eq!(managers, ["one", "two"]);
}

const RULES: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tables.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Table, plural: tables, singular: table}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - rule: self.seats <= self.most
              messageExpression: "'more than the ' + (self.most > 10 ? 'many' : 'few') + ' allowed'"
              fieldPath: .seats
              reason: FieldValueForbidden
            - rule: "!has(oldSelf.wood) || (has(self.wood) && self.wood == oldSelf.wood)"
              message: the wood stays
            properties:
              seats: {type: integer}
              most: {type: integer, default: 8}
              wood: {type: string}
              name:
                type: string
                maxLength: 20
                x-kubernetes-validations:
                - rule: "oldSelf.hasValue() ? self.size() >= oldSelf.value().size() : self.startsWith('t-')"
                  optionalOldSelf: true
                  message: names begin with t- and grow
"#;

#[test]
fn rules_of_a_definition_judge_what_kubectl_sends() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let wrong = RULES.replace("self.seats <= self.most", "self.seat <= self.most");
    let refused = sandbox.apply(&k, &wrong).fails(1);
    assert!(refused.contains("undefined field 'seat'"), "{refused}");
    sandbox.apply(&k, RULES).done();
    let wait = [
        "wait",
        "--for=condition=Established",
        "crd/tables.example.org",
    ];
    sandbox.kubectl(&k, &wait).done();
    let table = |spec: &str| {
        format!("apiVersion: example.org/v1\nkind: Table\nmetadata: {{name: t}}\nspec: {spec}\n")
    };
    let refused = sandbox.apply(&k, &table("{seats: 9}")).fails(1);
    let why = "spec.seats: Forbidden: more than the few allowed";
    assert!(refused.contains(why), "{refused}");
    let refused = sandbox.apply(&k, &table("{seats: 30, most: 20}")).fails(1);
    assert!(refused.contains("more than the many allowed"), "{refused}");
    let refused = sandbox.apply(&k, &table("{seats: 2, name: x}")).fails(1);
    assert!(
        refused.contains("names begin with t- and grow"),
        "{refused}"
    );
    sandbox
        .apply(&k, &table("{seats: 2, wood: oak, name: t-a}"))
        .done();
    // What was there before counts.
    let refused = sandbox
        .apply(&k, &table("{seats: 2, wood: ash, name: t-a}"))
        .fails(1);
    assert!(
        refused.contains("spec: Invalid value: the wood stays"),
        "{refused}"
    );
    let refused = sandbox
        .apply(&k, &table("{seats: 2, wood: oak, name: t}"))
        .fails(1);
    assert!(
        refused.contains("spec.name: Invalid value: \"t\": names begin"),
        "{refused}"
    );
    sandbox
        .apply(&k, &table("{seats: 8, wood: oak, name: t-ab}"))
        .done();
    let patch = [
        "patch",
        "table",
        "t",
        "--type=merge",
        "-p",
        r#"{"spec":{"seats":9}}"#,
    ];
    let refused = sandbox.kubectl(&k, &patch).fails(1);
    assert!(refused.contains(why), "{refused}");
}
