//! The table of functions: one row per overload. A library is a table of rows in `lib/`.

use super::ctx::Ctx;
use super::ranges::{Estimate, Node, Sizes};
use super::types::Type;
use super::val::{Outcome, Val};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Computes the result; the arguments have the types of the signature, the receiver comes first.
pub type Run = for<'a> fn(&mut Ctx<'a>, &[Val<'a>]) -> Outcome<Val<'a>>;

/// What one call costs; it is charged before the call is made.
#[derive(Clone, Copy)]
pub enum Charge {
    One,
    /// By the arguments (the receiver first).
    Args(fn(&[Val]) -> u64),
    /// As `Args`, but only where the checker knows that it is this overload; 1 otherwise. That is
    /// how cel-go charges for its own functions.
    Overload(fn(&[Val]) -> u64),
    /// By arguments and result, after the call.
    Result(fn(&[Val], &Val) -> u64),
}

/// What a call can cost: target, arguments. `None`: 1 plus the arguments, size unknown.
/// The cost of the arguments themselves is added by the caller.
pub type Estimator = fn(&Sizes<'_>, Option<&Node<'_>>, &[Node<'_>]) -> Option<Estimate>;

/// One way to call a function.
pub struct Overload {
    pub function: &'static str,
    /// cel-go's id of it
    pub id: &'static str,
    /// `receiver.function(…)`; the receiver is the first parameter then.
    pub member: bool,
    /// `list(A), A -> bool`
    pub signature: &'static str,
    pub run: Run,
    pub charge: Charge,
    pub estimate: Estimator,
    /// Takes arguments of any type when it runs, whatever its signature says.
    pub lenient: bool,
}

/// A row whose calls cost 1.
pub const fn row(
    member: bool,
    function: &'static str,
    id: &'static str,
    signature: &'static str,
    run: Run,
) -> Overload {
    Overload {
        function,
        id,
        member,
        signature,
        run,
        charge: Charge::One,
        estimate: |_, _, _| None,
        lenient: false,
    }
}

impl Overload {
    #[must_use]
    pub const fn costing(mut self, charge: Charge, estimate: Estimator) -> Self {
        self.charge = charge;
        self.estimate = estimate;
        self
    }

    #[must_use]
    pub const fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }
}

/// The functions that came with one version of Kubernetes.
pub struct Library {
    /// 1.x
    pub since: u16,
    /// Types whose names are values.
    pub types: &'static [&'static str],
    pub rows: &'static [Overload],
}

/// A row with its signature read.
pub struct Function {
    pub row: &'static Overload,
    pub since: u16,
    /// Only where there are patches: in mutating policies.
    pub patches: bool,
    pub params: Vec<Type>,
    pub result: Type,
    /// The names of its type parameters.
    pub generic: Vec<crate::Str>,
}

/// All functions by name, in the order of the tables.
pub struct Registry {
    by_name: HashMap<&'static str, Vec<Function>>,
    types: HashMap<&'static str, (u16, Type)>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let all = super::lib::LIBRARIES.iter().map(|l| (*l, false));
    Registry::new(all.chain([(&super::lib::PATCHES, true)]))
});

impl Registry {
    #[must_use]
    pub fn get() -> &'static Self {
        &REGISTRY
    }

    /// Libraries, and whether they belong to patches only.
    fn new(libraries: impl Iterator<Item = (&'static Library, bool)>) -> Self {
        let mut by_name: HashMap<&'static str, Vec<Function>> = HashMap::new();
        let mut types = HashMap::new();
        for (library, patches) in libraries {
            for row in library.rows {
                by_name.entry(row.function).or_default().push(Function::new(
                    row,
                    library.since,
                    patches,
                ));
            }
            for name in library.types {
                types.insert(
                    name.split('(').next().unwrap_or(name),
                    (library.since, Type::parse(name)),
                );
            }
        }
        // Names that are not how the type is written.
        for (name, t) in [
            ("google.protobuf.Timestamp", Type::Timestamp),
            ("google.protobuf.Duration", Type::Duration),
        ] {
            types.insert(name, (0, t));
        }
        Self { by_name, types }
    }

    /// The overloads of `name`, whether they exist in this version or not.
    #[must_use]
    pub fn overloads(&self, name: &str) -> &[Function] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The type that `name` is the name of.
    #[must_use]
    pub fn type_named(&self, name: &str, minor: u16) -> Option<&Type> {
        self.types
            .get(name)
            .filter(|(since, _)| *since <= minor)
            .map(|(_, t)| t)
    }

    /// Every row, for tests of the tables.
    pub fn rows(&self) -> impl Iterator<Item = &Function> {
        let mut names: Vec<_> = self.by_name.iter().collect();
        names.sort_by_key(|(name, _)| **name);
        names.into_iter().flat_map(|(_, f)| f)
    }
}

impl Function {
    fn new(row: &'static Overload, since: u16, patches: bool) -> Self {
        let (params, result) = row.signature.split_once("->").unwrap_or(("", "dyn"));
        let params: Vec<Type> = super::types::split_top(params)
            .into_iter()
            .map(Type::parse)
            .collect();
        let result = Type::parse(result);
        let mut generic = Vec::new();
        for t in params.iter().chain([&result]) {
            collect_params(t, &mut generic);
        }
        Self {
            row,
            since,
            patches,
            params,
            result,
            generic,
        }
    }

    /// Whether values of these types can be passed.
    #[must_use]
    pub fn takes(&self, args: &[Val]) -> bool {
        self.params.len() == args.len()
            && (self.row.lenient || self.params.iter().zip(args).all(|(p, v)| fits(p, v)))
    }
}

fn collect_params(t: &Type, into: &mut Vec<crate::Str>) {
    match t {
        Type::Param(name) if !into.contains(name) => into.push(name.clone()),
        Type::List(of) | Type::Type(Some(of)) => collect_params(of, into),
        Type::Map(k, v) => {
            collect_params(k, into);
            collect_params(v, into);
        }
        Type::Opaque(_, params) => params.iter().for_each(|p| collect_params(p, into)),
        _ => {}
    }
}

/// Elements are looked at as cel-go does: the first one only.
fn fits(param: &Type, val: &Val) -> bool {
    match (param, val) {
        (Type::Dyn | Type::Any | Type::Param(_), _) => true,
        (Type::Object(o), Val::Opaque(v)) => o.name == v.type_name(),
        (Type::Object(o), Val::Message(m)) => o.name == m.name,
        (Type::Opaque(name, params), Val::Optional(inner)) => {
            name == super::types::OPTIONAL
                && match (params.first(), inner) {
                    (Some(p), Some(v)) => fits(p, v),
                    _ => true,
                }
        }
        (Type::Opaque(name, _), Val::Opaque(v)) => name == v.type_name(),
        (Type::List(of), Val::List(items)) => match items.get(0) {
            Ok(first) => fits(of, &first),
            Err(_) => true,
        },
        (Type::Map(k, v), Val::Map(entries)) => {
            if matches!((&**k, &**v), (Type::Param(_), Type::Param(_))) {
                return true;
            }
            let Some(key) = entries.keys().into_iter().next() else {
                return true;
            };
            let value = entries.find(&key).ok().flatten();
            fits(k, &key) && value.is_none_or(|value| fits(v, &value))
        }
        (Type::List(_) | Type::Map(..) | Type::Object(_) | Type::Opaque(..), _) => false,
        (param, val) => std::mem::discriminant(param) == std::mem::discriminant(&val.type_of()),
    }
}
