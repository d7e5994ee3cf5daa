//! The demonstration, on an empty and on a used data directory.

use freehold_e2e::Sandbox;

#[test]
fn quickstart_holds_on_an_empty_and_on_a_used_directory() {
    let sandbox = Sandbox::new();
    let args = ["quickstart", "--exit", "--listen", "127.0.0.1:0"];
    let first = sandbox.freehold(&args).ok();
    for part in [
        "create tenant acme",
        "create tenant globex",
        "apply deployment hello",
        "acme's kubeconfig against globex: held",
        "acme's token against the host: held",
        "globex's objects, looked for in acme: held",
        "kubectl --kubeconfig",
    ] {
        assert!(first.contains(part), "{part}:\n{first}");
    }
    assert!(!first.contains("found as it was"), "{first}");
    let second = sandbox.freehold(&args).ok();
    let found = second.matches("found as it was").count();
    assert_eq!(
        found, 8,
        "two tenants, two control planes, four objects:\n{second}"
    );
}
