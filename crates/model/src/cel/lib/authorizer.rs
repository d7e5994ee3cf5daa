//! Authorization checks (apiserver `pkg/cel/library/authz.go`; selectors since 1.32, when their
//! feature came to be on by default). What is asked is collected here and answered by the
//! [`Authorizer`](crate::cel::ctx::Authorizer) of the evaluation; without one nothing is allowed.

use super::args::{ALWAYS_ONE, MEMBER, ONE, made, opaque, own, text};
use crate::cel::ctx::{Answer, Ctx, Question};
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, LIST_CREATE, Range, STRING, STRUCT_CREATE};
use crate::cel::val::{Failure, Opaque, Outcome, Val};
use crate::rules;
use std::any::Any;

const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";

#[rustfmt::skip] // one row a line
pub(super) static AUTHORIZATION: Library = Library {
    since: 27,
    types: &[],
    rows: &[
        row(MEMBER, "path", "authorizer_path", "kubernetes.authorization.Authorizer, string -> kubernetes.authorization.PathCheck", path).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "group", "authorizer_group", "kubernetes.authorization.Authorizer, string -> kubernetes.authorization.GroupCheck", group).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "serviceAccount", "authorizer_serviceaccount", "kubernetes.authorization.Authorizer, string, string -> kubernetes.authorization.Authorizer", service_account).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "resource", "groupcheck_resource", "kubernetes.authorization.GroupCheck, string -> kubernetes.authorization.ResourceCheck", resource).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "subresource", "resourcecheck_subresource", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.ResourceCheck", subresource).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "namespace", "resourcecheck_namespace", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.ResourceCheck", namespace).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "name", "resourcecheck_name", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.ResourceCheck", name).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "check", "pathcheck_check", "kubernetes.authorization.PathCheck, string -> kubernetes.authorization.Decision", check).costing(CHECK, CHECKING),
        row(MEMBER, "check", "resourcecheck_check", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.Decision", check).costing(CHECK, CHECKING),
        row(MEMBER, "errored", "decision_errored", "kubernetes.authorization.Decision -> bool", errored).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "error", "decision_error", "kubernetes.authorization.Decision -> string", error).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "allowed", "decision_allowed", "kubernetes.authorization.Decision -> bool", allowed).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "reason", "decision_reason", "kubernetes.authorization.Decision -> string", reason).costing(ONE, ALWAYS_ONE),
    ],
};

#[rustfmt::skip] // one row a line
pub(super) static SELECTORS: Library = Library {
    since: 32,
    types: &[],
    rows: &[
        row(MEMBER, "fieldSelector", "authorizer_fieldselector", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.ResourceCheck", field_selector).costing(SELECT, SELECTING),
        row(MEMBER, "labelSelector", "authorizer_labelselector", "kubernetes.authorization.ResourceCheck, string -> kubernetes.authorization.ResourceCheck", label_selector).costing(SELECT, SELECTING),
    ],
};

/// Two checks are as much as one expression can afford.
const CHECK_COST: u64 = 350_000;
const CHECK: Charge = Charge::Args(|_| CHECK_COST);
const CHECKING: Estimator = |_, _, _| Estimate::of(Range::just(CHECK_COST));
const SELECT: Charge = Charge::Args(|a| selector_cost(Range::just(a[1].size())).max);
const SELECTING: Estimator = |s, _, args| Estimate::of(selector_cost(s.size(args.first()?)));

/// It is parsed to as many requirements as may be in it.
fn selector_cost(length: Range) -> Range {
    #[allow(clippy::cast_precision_loss, reason = "small constants")]
    let each = (LIST_CREATE + STRUCT_CREATE) as f64;
    Range::just(LIST_CREATE)
        .plus(length.per(STRING))
        .plus(length.per(0.5).per(each))
}

/// Whose rights are asked for: those of the request's user, or of a service account.
#[derive(Clone, Debug, Default)]
pub(in crate::cel) struct Subject {
    service_account: Option<(String, String)>,
}

#[derive(Clone, Debug)]
struct PathCheck {
    subject: Subject,
    path: String,
}

#[derive(Clone, Debug)]
struct GroupCheck {
    subject: Subject,
    group: String,
}

/// What is asked about a resource, so far.
#[derive(Clone, Debug, Default)]
pub(in crate::cel) struct ResourceCheck {
    subject: Subject,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    field_selector: String,
    label_selector: String,
}

#[derive(Clone, Debug)]
struct Decision(Answer);

/// These cannot be compared, not even with themselves.
macro_rules! receiver_only {
    ($($name:ty: $type_name:expr),*) => {$(
        impl Opaque for $name {
            fn type_name(&self) -> &'static str {
                $type_name
            }

            fn equals(&self, _: &dyn Opaque) -> bool {
                false
            }

            fn is_comparable(&self) -> bool {
                false
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    )*};
}

receiver_only! {
    Subject: AUTHORIZER,
    PathCheck: "kubernetes.authorization.PathCheck",
    GroupCheck: "kubernetes.authorization.GroupCheck",
    ResourceCheck: RESOURCE,
    Decision: "kubernetes.authorization.Decision"
}

fn path<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let path = text(args, 1)?;
    if path.trim().is_empty() {
        return Err(Failure::new("path must not be empty"));
    }
    Ok(opaque(PathCheck {
        subject: own::<Subject>(args, 0)?.clone(),
        path: path.to_owned(),
    }))
}

fn group<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(opaque(GroupCheck {
        subject: own::<Subject>(args, 0)?.clone(),
        group: text(args, 1)?.to_owned(),
    }))
}

fn service_account<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    own::<Subject>(args, 0)?;
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    if !rules::dns1123_subdomain(name).is_empty() {
        return Err(Failure::new("Invalid service account name"));
    }
    if !rules::dns1123_label(namespace).is_empty() {
        return Err(Failure::new("Invalid service account namespace"));
    }
    Ok(opaque(Subject {
        service_account: Some((namespace.to_owned(), name.to_owned())),
    }))
}

fn resource<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (group, resource) = (own::<GroupCheck>(args, 0)?, text(args, 1)?);
    if resource.trim().is_empty() {
        return Err(Failure::new("resource must not be empty"));
    }
    Ok(opaque(ResourceCheck {
        subject: group.subject.clone(),
        group: group.group.clone(),
        resource: resource.to_owned(),
        ..ResourceCheck::default()
    }))
}

/// The check with one more thing known.
fn with<'a>(args: &[Val<'a>], set: impl FnOnce(&mut ResourceCheck, String)) -> Outcome<Val<'a>> {
    let mut check = own::<ResourceCheck>(args, 0)?.clone();
    set(&mut check, text(args, 1)?.to_owned());
    Ok(opaque(check))
}

fn subresource<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    with(args, |check, text| check.subresource = text)
}

fn namespace<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    with(args, |check, text| check.namespace = text)
}

fn name<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    with(args, |check, text| check.name = text)
}

fn field_selector<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    with(args, |check, text| check.field_selector = text)
}

fn label_selector<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    with(args, |check, text| check.label_selector = text)
}

impl Subject {
    fn account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.service_account.as_ref()?;
        Some((namespace, name))
    }
}

fn check<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let verb = text(args, 1)?;
    let question = if let Ok(check) = own::<PathCheck>(args, 0) {
        Question {
            verb,
            path: Some(&check.path),
            service_account: check.subject.account(),
            ..Question::default()
        }
    } else {
        let check = own::<ResourceCheck>(args, 0)?;
        Question {
            verb,
            path: None,
            group: &check.group,
            resource: &check.resource,
            subresource: &check.subresource,
            namespace: &check.namespace,
            name: &check.name,
            field_selector: &check.field_selector,
            label_selector: &check.label_selector,
            service_account: check.subject.account(),
        }
    };
    let answer = match ctx.authorizer {
        Some(authorizer) => authorizer.authorize(&question),
        None => Answer::default(),
    };
    Ok(opaque(Decision(answer)))
}

fn answer<'v>(args: &'v [Val]) -> Outcome<&'v Answer> {
    own::<Decision>(args, 0).map(|decision| &decision.0)
}

fn errored<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(answer(args)?.error.is_some()))
}

fn error<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, answer(args)?.error.clone().unwrap_or_default())
}

fn allowed<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(answer(args)?.allowed))
}

fn reason<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, answer(args)?.reason.clone())
}
