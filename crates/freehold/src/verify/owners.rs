//! What a tenant's owners may do on the host itself, asked of the host's own authorizer.

use super::{Outcome, Report};
use crate::cli::{Target, Trouble, names, objects};
use anyhow::Result;
use freehold_api::names::GROUP;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

/// Something an owner must not be able to do.
struct Forbidden {
    what: String,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    namespace: String,
    name: String,
}

pub(super) async fn check(target: &Target, only: Option<&str>, report: &mut Report) -> Result<()> {
    let tenants = objects::tenants(&target.client)
        .list(&ListParams::default())
        .await
        .map_err(|e| Trouble::from_api("list", "tenants", e))?;
    let all: Vec<String> = tenants.items.iter().map(ResourceExt::name_any).collect();
    for tenant in &tenants.items {
        let name = tenant.name_any();
        if only.is_some_and(|o| o != name) {
            continue;
        }
        let owners = tenant
            .data
            .pointer("/spec/owners")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let between = format!("owners of {name} → host");
        if owners.is_empty() {
            report.add(
                &between,
                "owners",
                Outcome::NotMade("the tenant has no owners".to_owned()),
            );
        }
        for owner in &owners {
            for forbidden in forbidden(&name, &all) {
                let outcome = review(target, owner, &forbidden).await;
                let who = owner
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                report.add(&between, &format!("{who}: {}", forbidden.what), outcome);
            }
        }
    }
    Ok(())
}

fn forbidden(tenant: &str, all: &[String]) -> Vec<Forbidden> {
    let own = names::namespace_of(tenant);
    let entry = |what: &str, verb, group, resource, namespace: &str, name: &str| Forbidden {
        what: what.to_owned(),
        verb,
        group,
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let mut list = vec![
        entry("editing the Tenant", "update", GROUP, "tenants", "", tenant),
        entry("creating tenants", "create", GROUP, "tenants", "", ""),
        entry(
            "reading the secrets that hold its certificate authorities",
            "get",
            "",
            "secrets",
            &own,
            "",
        ),
        entry(
            "changing quotas in its namespace",
            "update",
            "",
            "resourcequotas",
            &own,
            "",
        ),
        entry(
            "deleting its namespace",
            "delete",
            "",
            "namespaces",
            &own,
            &own,
        ),
        entry(
            "granting itself rights",
            "create",
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            "",
            "",
        ),
    ];
    if let Some(other) = all.iter().find(|t| *t != tenant) {
        let theirs = names::namespace_of(other);
        list.push(entry(
            &format!("seeing control planes of {other}"),
            "list",
            GROUP,
            "controlplanes",
            &theirs,
            "",
        ));
        list.push(entry(
            &format!("creating control planes for {other}"),
            "create",
            GROUP,
            "controlplanes",
            &theirs,
            "",
        ));
    }
    list
}

async fn review(target: &Target, owner: &Value, forbidden: &Forbidden) -> Outcome {
    let name = owner
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let (user, groups) = match owner.get("kind").and_then(Value::as_str) {
        Some("Group") => ("freehold-verify".to_owned(), vec![name]),
        Some("User" | "ServiceAccount") => (name, Vec::new()),
        other => return Outcome::NotMade(format!("unknown kind of owner {other:?}")),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user),
            groups: Some([groups, vec!["system:authenticated".to_owned()]].concat()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(forbidden.verb.to_owned()),
                group: Some(forbidden.group.to_owned()),
                resource: Some(forbidden.resource.to_owned()),
                namespace: Some(forbidden.namespace.clone()),
                name: Some(forbidden.name.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(target.client.clone());
    match api.create(&PostParams::default(), &review).await {
        Ok(answer) => match answer.status {
            Some(status) if status.allowed => Outcome::Failed("allowed".to_owned()),
            Some(_) => Outcome::Held("not allowed".to_owned()),
            None => Outcome::NotMade("the host answered without a decision".to_owned()),
        },
        Err(error) => Outcome::NotMade(crate::cli::said(&error)),
    }
}
