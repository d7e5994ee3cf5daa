//! Expressions that select devices (dynamic-resource-allocation `cel/compile.go`).

use super::cost;
use super::decl::{Decl, DeclKind};
use super::env::Env;
use super::eval::instantiate;
use super::policy::full_name;
use super::types::Type;
use std::sync::{Arc, LazyLock};

/// What an expression may cost at most, on any device.
const MAX_COST: u64 = 1_000_000;
const MAX_DRIVER: u64 = 63;
const MAX_VALUE: u64 = 64;
/// Attributes of a device, and capacities.
const MAX_ENTRIES: u64 = 32;

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Invalid(String),
    Internal(String),
    TooExpensive,
}

fn two_levels(of: Decl) -> Decl {
    let map = |of: Decl| Decl::plain(DeclKind::Map(Arc::new(of)), 2, MAX_ENTRIES);
    map(map(of))
}

static DEVICE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let attribute = Decl::plain(DeclKind::Any, 1, MAX_VALUE);
    let quantity = Decl::fields("kubernetes.Quantity", []);
    Arc::new(Decl::fields(
        "kubernetes.DRADevice",
        [
            ("driver", Decl::plain(DeclKind::String, 2, MAX_DRIVER)),
            (
                "allowMultipleAllocations",
                Decl::plain(DeclKind::Bool, 4, 1),
            ),
            ("attributes", two_levels(attribute)),
            ("capacity", two_levels(quantity)),
        ],
    ))
});

/// Compiles an expression for a server of Kubernetes 1.`minor`.
///
/// # Errors
/// It is wrong, comes to something else than a bool, or can cost too much.
pub fn check(minor: u8, source: &str) -> Result<(), Refusal> {
    let env = Env::of_server(minor.into())
        .with("device", DEVICE.type_named(""))
        .with_bindings();
    let checked = env.compile(source).map_err(|issues| {
        Refusal::Invalid(format!("compilation failed: {}", issues.display(source)))
    })?;
    let output = checked.output();
    if !matches!(output, Type::Bool | Type::Any) {
        let got = full_name(output);
        let detail = format!("must evaluate to bool or the unknown type, not {got}");
        return Err(Refusal::Invalid(detail));
    }
    if let Err(failure) = instantiate(&checked) {
        let detail = format!("program instantiation failed: {failure}");
        return Err(Refusal::Internal(detail));
    }
    if cost::estimate(&checked, Some(&DEVICE)).max > MAX_COST {
        return Err(Refusal::TooExpensive);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_selected_by_driver_attributes_and_capacity() {
        for good in [
            "device.driver == 'gpu.example.com'",
            "device.attributes['example.com'].model == 'a' || device.attributes['example.com'].on",
            "device.attributes['example.com'].on",
            "device.capacity['example.com'].memory.compareTo(quantity('1Gi')) >= 0",
            "cel.bind(d, device.attributes['example.com'], d.a == 1 && d.b == 's')",
            "device.allowMultipleAllocations",
        ] {
            assert_eq!(check(36, good), Ok(()), "{good}");
        }
        let invalid = |source| match check(36, source) {
            Err(Refusal::Invalid(detail)) => detail,
            other => panic!("{source}: {other:?}"),
        };
        let said = invalid("device.driver");
        assert_eq!(
            said,
            "must evaluate to bool or the unknown type, not string"
        );
        assert!(invalid("device.size").contains("undefined field 'size'"));
        assert!(invalid("object.a").contains("undeclared reference to 'object'"));
        assert!(invalid("dyn(true)").contains("not dyn"));
        assert!(invalid("cel.bind(a.b, 1, true)").contains("must be simple identifiers"));
    }

    #[test]
    fn what_can_cost_too_much_on_some_device_is_refused() {
        let mut source = "true".to_owned();
        for name in ["a", "b", "c", "d", "e"] {
            source = format!("device.attributes.all({name}, {source})");
        }
        assert_eq!(check(36, &source), Err(Refusal::TooExpensive));
        let deep = format!(
            "{}true{}",
            "cel.bind(a, 1, ".repeat(5_000),
            ")".repeat(5_000)
        );
        assert!(matches!(check(36, &deep), Err(Refusal::Invalid(_))));
    }
}
