//! Real kubectl against a control plane, as people use it.

use freehold_e2e::{Sandbox, json, needs_kubectl};
use std::path::PathBuf;

/// A host with one control plane.
pub(crate) fn cluster() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_host();
    let kubeconfig = sandbox.control_plane("acme", "dev");
    (sandbox, kubeconfig)
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'registry.example/web:1', ports: [{containerPort: 80}]}
";

const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, shortNames: [wd], listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties: {size: {type: integer, minimum: 1, description: how big it is}, color: {type: string, default: blue}}
          status:
            type: object
            properties: {size: {type: integer}}
";

#[test]
fn get_describe_and_api_discovery() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let namespaces = sandbox.kubectl(&k, &["get", "ns"]).ok();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(name), "{namespaces}");
    }
    assert!(
        sandbox
            .kubectl(&k, &["version"])
            .ok()
            .contains("Server Version: v1.")
    );
    let resources = sandbox.kubectl(&k, &["api-resources"]).ok();
    for kind in [
        "configmaps",
        "deployments",
        "clusterroles",
        "customresourcedefinitions",
    ] {
        assert!(resources.contains(kind), "{kind}: {resources}");
    }
    assert!(
        sandbox
            .kubectl(&k, &["api-versions"])
            .ok()
            .contains("apps/v1")
    );
    sandbox.kubectl(&k, &["cluster-info"]).done();
    assert_eq!(sandbox.kubectl(&k, &["get", "--raw", "/readyz"]).ok(), "ok");
    assert!(
        sandbox
            .kubectl(&k, &["get", "all", "-A"])
            .ok()
            .contains("service/kubernetes")
    );
    assert!(
        sandbox
            .kubectl(&k, &["describe", "namespace", "default"])
            .ok()
            .contains("Active")
    );
    assert!(
        sandbox
            .kubectl(&k, &["get", "configmap", "nope"])
            .fails(1)
            .contains("NotFound")
    );
}

#[test]
fn apply_create_edit_and_delete_a_deployment() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    assert!(
        sandbox
            .apply(&k, DEPLOYMENT)
            .ok()
            .contains("deployment.apps/web created")
    );
    assert!(sandbox.apply(&k, DEPLOYMENT).ok().contains("unchanged"));
    let changed = DEPLOYMENT.replace("web:1", "web:2");
    assert!(
        sandbox
            .kubectl_input(&k, &["diff", "-f", "-"], Some(&changed))
            .stdout
            .contains("web:2")
    );
    assert!(sandbox.apply(&k, &changed).ok().contains("configured"));
    sandbox
        .kubectl(&k, &["label", "deployment", "web", "tier=front"])
        .done();
    sandbox
        .kubectl(&k, &["annotate", "deployment", "web", "note=hello"])
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "set",
                "image",
                "deployment/web",
                "web=registry.example/web:3",
            ],
        )
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "patch",
                "deployment",
                "web",
                "-p",
                r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","tty":true}]}}}}"#,
            ],
        )
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "patch",
                "deployment",
                "web",
                "--type=json",
                "-p",
                r#"[{"op":"replace","path":"/spec/replicas","value":3}]"#,
            ],
        )
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "patch",
                "deployment",
                "web",
                "--type=merge",
                "-p",
                r#"{"spec":{"paused":true}}"#,
            ],
        )
        .done();
    sandbox
        .kubectl(&k, &["scale", "deployment", "web", "--replicas=5"])
        .done();
    let web = json(
        &sandbox
            .kubectl(&k, &["get", "deployment", "web", "-o", "json"])
            .ok(),
    );
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/web:3");
    assert_eq!(
        (&container["tty"], &container["ports"][0]["containerPort"]),
        (&true.into(), &80.into())
    );
    assert_eq!(
        (&web["spec"]["replicas"], &web["spec"]["paused"]),
        (&5.into(), &true.into())
    );
    assert_eq!(
        web["spec"]["strategy"]["type"], "RollingUpdate",
        "defaulted"
    );
    assert_eq!(web["metadata"]["labels"]["tier"], "front");
    assert!(
        sandbox
            .kubectl(&k, &["get", "deploy", "-l", "tier=front", "-o", "wide"])
            .ok()
            .contains("registry.example/web:3")
    );
    sandbox
        .kubectl(&k, &["rollout", "status", "deployment/web", "--timeout=1s"])
        .fails(1);
    sandbox.kubectl(&k, &["delete", "deployment", "web"]).done();
    assert!(
        sandbox
            .kubectl(&k, &["get", "deployments"])
            .stderr
            .contains("No resources found")
    );
}

#[test]
fn replace_with_a_stale_version_is_a_conflict_and_bad_objects_are_explained() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox
        .kubectl(&k, &["create", "configmap", "c", "--from-literal=a=1"])
        .done();
    let old = sandbox
        .kubectl(&k, &["get", "configmap", "c", "-o", "json"])
        .ok();
    sandbox
        .kubectl(
            &k,
            &["patch", "configmap", "c", "-p", r#"{"data":{"a":"2"}}"#],
        )
        .done();
    let said = sandbox
        .kubectl_input(&k, &["replace", "-f", "-"], Some(&old))
        .fails(1);
    assert!(said.contains("the object has been modified"), "{said}");
    let said = sandbox
        .apply(&k, &DEPLOYMENT.replace("replicas: 2", "replicas: many"))
        .fails(1);
    assert!(
        said.contains("replicas") || said.contains("int32"),
        "{said}"
    );
    let said = sandbox
        .apply(&k, &DEPLOYMENT.replace("replicas: 2", "replicaz: 2"))
        .fails(1);
    assert!(said.contains("unknown field \"spec.replicaz\""), "{said}");
    let said = sandbox
        .apply(
            &k,
            &DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: other}"),
        )
        .fails(1);
    assert!(said.contains("selector"), "{said}");
    let said = sandbox
        .kubectl(&k, &["create", "namespace", "Not_A_Name"])
        .fails(1);
    assert!(said.contains("Invalid value"), "{said}");
}

#[test]
fn explain_knows_built_in_and_custom_kinds() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let text = sandbox
        .kubectl(&k, &["explain", "deployment.spec.replicas"])
        .ok();
    assert!(
        text.contains("replicas") && text.contains("integer"),
        "{text}"
    );
    sandbox.apply(&k, CRD).done();
    sandbox
        .kubectl(
            &k,
            &[
                "wait",
                "--for=condition=Established",
                "crd/widgets.example.org",
                "--timeout=20s",
            ],
        )
        .done();
    sandbox.until("the new kind is explained", || {
        sandbox
            .kubectl(&k, &["explain", "widget.spec.size"])
            .stdout
            .contains("how big it is")
    });
}

#[test]
fn custom_kinds_are_served_validated_defaulted_and_scaled() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.apply(&k, CRD).done();
    sandbox
        .kubectl(
            &k,
            &[
                "wait",
                "--for=condition=Established",
                "crd/widgets.example.org",
                "--timeout=20s",
            ],
        )
        .done();
    let widget =
        "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: one}\nspec: {size: 3}\n";
    sandbox.until("widgets can be created", || {
        sandbox.apply(&k, widget).code == Some(0)
    });
    let table = sandbox.kubectl(&k, &["get", "wd"]).ok();
    assert!(table.contains("SIZE") && table.contains('3'), "{table}");
    assert_eq!(
        sandbox
            .kubectl(
                &k,
                &["get", "widget", "one", "-o", "jsonpath={.spec.color}"]
            )
            .ok(),
        "blue"
    );
    let said = sandbox
        .apply(&k, &widget.replace("size: 3", "size: 0"))
        .fails(1);
    assert!(said.contains("spec.size"), "{said}");
    sandbox
        .kubectl(&k, &["scale", "widget/one", "--replicas=7"])
        .done();
    assert_eq!(
        sandbox
            .kubectl(&k, &["get", "widget", "one", "-o", "jsonpath={.spec.size}"])
            .ok(),
        "7"
    );
    sandbox
        .kubectl(&k, &["delete", "crd", "widgets.example.org"])
        .done();
    sandbox.until("the kind is gone", || {
        sandbox.kubectl(&k, &["get", "widgets"]).code == Some(1)
    });
}

#[test]
fn deleting_a_namespace_empties_it() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.kubectl(&k, &["create", "namespace", "shop"]).done();
    sandbox
        .kubectl(&k, &["-n", "shop", "create", "configmap", "c"])
        .done();
    sandbox
        .kubectl_input(&k, &["-n", "shop", "apply", "-f", "-"], Some(DEPLOYMENT))
        .done();
    sandbox
        .kubectl(&k, &["delete", "namespace", "shop", "--timeout=30s"])
        .done();
    assert!(!sandbox.kubectl(&k, &["get", "ns"]).ok().contains("shop"));
    assert!(
        !sandbox
            .kubectl(&k, &["get", "configmaps", "-A"])
            .ok()
            .contains("shop")
    );
}

#[test]
fn service_accounts_tokens_and_permissions() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.until("the default account exists", || {
        sandbox
            .kubectl(&k, &["get", "serviceaccount", "default"])
            .code
            == Some(0)
    });
    sandbox.until("the root certificate is published", || {
        sandbox
            .kubectl(&k, &["get", "configmap", "kube-root-ca.crt"])
            .code
            == Some(0)
    });
    sandbox
        .kubectl(&k, &["create", "serviceaccount", "reader"])
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "create",
                "role",
                "read",
                "--verb=get,list",
                "--resource=configmaps",
            ],
        )
        .done();
    sandbox
        .kubectl(
            &k,
            &[
                "create",
                "rolebinding",
                "read",
                "--role=read",
                "--serviceaccount=default:reader",
            ],
        )
        .done();
    let who = "--as=system:serviceaccount:default:reader";
    assert_eq!(
        sandbox
            .kubectl(&k, &["auth", "can-i", "list", "configmaps", who])
            .ok()
            .trim(),
        "yes"
    );
    let no = sandbox.kubectl(&k, &["auth", "can-i", "delete", "configmaps", who]);
    assert_eq!((no.code, no.stdout.trim()), (Some(1), "no"));
    let token = sandbox.kubectl(&k, &["create", "token", "reader"]).ok();
    let mut config = json(
        &sandbox
            .kubectl(&k, &["config", "view", "--raw", "-o", "json"])
            .ok(),
    );
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    let file = sandbox.path("reader.json");
    std::fs::write(&file, config.to_string()).unwrap();
    sandbox.kubectl(&file, &["get", "configmaps"]).done();
    assert!(
        sandbox
            .kubectl(&file, &["get", "secrets"])
            .fails(1)
            .contains("Forbidden")
    );
    assert!(
        sandbox
            .kubectl(&file, &["auth", "whoami"])
            .ok()
            .contains("system:serviceaccount:default:reader")
    );
}

#[test]
fn watch_and_wait_see_changes() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.kubectl(&k, &["create", "configmap", "c"]).done();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            sandbox.kubectl(
                &k,
                &[
                    "wait",
                    "--for=jsonpath={.data.a}=b",
                    "configmap/c",
                    "--timeout=20s",
                ],
            )
        });
        sandbox
            .kubectl(
                &k,
                &["patch", "configmap", "c", "-p", r#"{"data":{"a":"b"}}"#],
            )
            .done();
        waiter.join().unwrap().done();
        let waiter = scope.spawn(|| {
            sandbox.kubectl(
                &k,
                &["wait", "--for=delete", "configmap/c", "--timeout=20s"],
            )
        });
        sandbox.kubectl(&k, &["delete", "configmap", "c"]).done();
        waiter.join().unwrap().done();
    });
    let watched = sandbox.kubectl(
        &k,
        &["get", "configmaps", "-A", "--watch", "--request-timeout=2s"],
    );
    assert!(watched.stdout.contains("kube-root-ca.crt"), "{watched:#?}");
}

#[test]
fn pods_are_stored_and_what_needs_a_node_says_so() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    sandbox.until("the default account exists", || {
        sandbox
            .kubectl(&k, &["get", "serviceaccount", "default"])
            .code
            == Some(0)
    });
    sandbox
        .kubectl(&k, &["run", "p", "--image=registry.example/p:1"])
        .done();
    assert!(
        sandbox
            .kubectl(&k, &["get", "pods"])
            .ok()
            .contains("Pending")
    );
    assert!(
        sandbox
            .kubectl(&k, &["describe", "pod", "p"])
            .ok()
            .contains("registry.example/p:1")
    );
    let said = sandbox.kubectl(&k, &["logs", "p"]).fails(1);
    assert!(!said.is_empty());
    sandbox
        .kubectl(&k, &["delete", "pod", "p", "--timeout=20s"])
        .done();
}

#[test]
fn server_side_apply_and_its_conflicts() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let apply = |manager: &str, manifest: &str| {
        let manager = format!("--field-manager={manager}");
        sandbox.kubectl_input(
            &k,
            &["apply", "--server-side", &manager, "-f", "-"],
            Some(manifest),
        )
    };
    apply("one", DEPLOYMENT).done();
    let two =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {owner: two}}\n";
    apply("two", two).done();
    let web = json(
        &sandbox
            .kubectl(
                &k,
                &[
                    "get",
                    "deployment",
                    "web",
                    "-o",
                    "json",
                    "--show-managed-fields",
                ],
            )
            .ok(),
    );
    assert_eq!(
        (
            &web["metadata"]["labels"]["owner"],
            &web["spec"]["replicas"]
        ),
        (&"two".into(), &2.into())
    );
    assert_eq!(
        web["metadata"]["managedFields"].as_array().map(Vec::len),
        Some(2),
        "{web:#}"
    );
    let fight =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 9}\n";
    let said = apply("two", fight).fails(1);
    assert!(
        said.contains("conflict") && said.contains(".spec.replicas"),
        "{said}"
    );
}

#[test]
fn a_token_secret_is_filled_and_its_token_works() {
    needs_kubectl!();
    let (sandbox, k) = cluster();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: t, annotations: {kubernetes.io/service-account.name: default}}\ntype: kubernetes.io/service-account-token\n";
    sandbox.until("the default account exists", || {
        sandbox
            .kubectl(&k, &["get", "serviceaccount", "default"])
            .code
            == Some(0)
    });
    sandbox.apply(&k, secret).done();
    let token = || {
        sandbox.kubectl(
            &k,
            &[
                "get",
                "secret",
                "t",
                "-o",
                "go-template={{.data.token | base64decode}}",
            ],
        )
    };
    sandbox.until("the token is there", || token().stdout.starts_with("ey"));
    let mut config = json(
        &sandbox
            .kubectl(&k, &["config", "view", "--raw", "-o", "json"])
            .ok(),
    );
    config["users"][0]["user"] = serde_json::json!({"token": token().ok()});
    let file = sandbox.path("token.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let who = sandbox.kubectl(&file, &["auth", "whoami"]).ok();
    assert!(
        who.contains("system:serviceaccount:default:default"),
        "{who}"
    );
}
