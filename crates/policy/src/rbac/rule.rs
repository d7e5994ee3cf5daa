//! One policy rule: what it matches and how it is described in messages.

use crate::Attributes;
use freehold_model::{Map, Str, Value};

/// `rbac.authorization.k8s.io/v1 PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub verbs: Vec<Str>,
    pub groups: Vec<Str>,
    pub resources: Vec<Str>,
    pub names: Vec<Str>,
    pub urls: Vec<Str>,
}

fn strings(rule: &Value, key: &str) -> Vec<Str> {
    let items = rule.get(key).and_then(Value::as_array).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(Str::from)
        .collect()
}

pub(crate) fn has(set: &[Str], wanted: &str) -> bool {
    set.iter().any(|s| s == wanted)
}

/// As `strings.TrimRight(url, "*")`: every trailing star goes.
pub(crate) fn url_covers(owner: &str, path: &str) -> bool {
    owner == path || (owner.ends_with('*') && path.starts_with(owner.trim_end_matches('*')))
}

impl Rule {
    #[must_use]
    pub fn from_value(rule: &Value) -> Self {
        Self {
            verbs: strings(rule, "verbs"),
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            names: strings(rule, "resourceNames"),
            urls: strings(rule, "nonResourceURLs"),
        }
    }

    /// The `rules` of a Role or ClusterRole.
    #[must_use]
    pub fn list_of(role: &Value) -> Vec<Self> {
        let rules = role
            .get("rules")
            .and_then(Value::as_array)
            .unwrap_or_default();
        rules.iter().map(Self::from_value).collect()
    }

    #[must_use]
    pub fn to_value(&self) -> Value {
        let fields = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        let set = fields.into_iter().filter(|(_, v)| !v.is_empty());
        Value::Object(
            set.map(|(k, v)| (k, Value::from(v.clone())))
                .collect::<Map>(),
        )
    }

    /// Whether this rule alone allows a request (plugin/pkg/auth/authorizer/rbac/rbac.go `RuleAllows`).
    #[must_use]
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !(has(&self.verbs, "*") || has(&self.verbs, &asked.verb)) {
            return false;
        }
        if let Some(path) = &asked.path {
            return self
                .urls
                .iter()
                .any(|url| url == "*" || url_covers(url, path));
        }
        (has(&self.groups, "*") || has(&self.groups, &asked.group))
            && self.resources.iter().any(|r| resource_matches(r, asked))
            && (self.names.is_empty() || has(&self.names, &asked.name))
    }

    /// As escalation messages show a rule: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    #[must_use]
    pub fn compact_string(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let set = parts.into_iter().filter(|(_, v)| !v.is_empty());
        let parts: Vec<String> = set
            .map(|(k, v)| format!("{k}:{}", quoted_list(v)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// A rule's resource is `*`, `pods`, `pods/log` or `*/scale`.
fn resource_matches(rule: &str, asked: &Attributes) -> bool {
    if rule == "*" {
        return true;
    }
    if asked.subresource.is_empty() {
        return rule == asked.resource;
    }
    match rule.split_once('/') {
        Some((resource, sub)) => {
            sub == asked.subresource && (resource == "*" || resource == asked.resource)
        }
        None => false,
    }
}

/// As Go prints a list of strings with `%q`: `["a" "b"]`.
pub(crate) fn quoted_list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<String> = items.iter().map(|s| format!("{:?}", s.as_ref())).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_model::value;

    fn ask(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]) -> Rule {
        let own = |v: &[&str]| v.iter().map(|s| Str::from(*s)).collect();
        Rule {
            verbs: own(verbs),
            groups: own(groups),
            resources: own(resources),
            names: own(names),
            urls: vec![],
        }
    }

    #[test]
    fn a_resource_rule_does_not_reach_its_subresources() {
        let pods = rule(&[""], &["pods"], &["get"], &[]);
        assert!(pods.allows(&ask("get", "", "pods", "", "x")));
        assert!(!pods.allows(&ask("get", "", "pods", "log", "x")));
        assert!(
            rule(&[""], &["pods/log"], &["get"], &[]).allows(&ask("get", "", "pods", "log", "x"))
        );
        assert!(
            !rule(&[""], &["pods/log"], &["get"], &[]).allows(&ask("get", "", "pods", "", "x"))
        );
        assert!(rule(&[""], &["*"], &["get"], &[]).allows(&ask("get", "", "pods", "log", "x")));
    }

    #[test]
    fn a_starred_subresource_matches_that_subresource_of_everything() {
        let scale = rule(&["*"], &["*/scale"], &["get"], &[]);
        assert!(scale.allows(&ask("get", "apps", "deployments", "scale", "x")));
        assert!(!scale.allows(&ask("get", "apps", "deployments", "status", "x")));
        assert!(!scale.allows(&ask("get", "apps", "scale", "", "x")));
        assert!(
            !rule(&["*"], &["pods/*"], &["get"], &[]).allows(&ask("get", "", "pods", "log", "x"))
        );
    }

    #[test]
    fn names_restrict_and_an_unnamed_request_does_not_match_them() {
        let named = rule(&[""], &["configmaps"], &["get", "list"], &["a"]);
        assert!(named.allows(&ask("get", "", "configmaps", "", "a")));
        assert!(!named.allows(&ask("get", "", "configmaps", "", "b")));
        assert!(!named.allows(&ask("list", "", "configmaps", "", "")));
    }

    #[test]
    fn urls_match_exactly_or_by_a_trailing_star() {
        let url = |u: &str, path: &str| {
            let rule = Rule {
                verbs: vec!["get".into()],
                urls: vec![u.into()],
                ..Rule::default()
            };
            rule.allows(&Attributes {
                verb: "get".into(),
                path: Some(path.into()),
                ..Attributes::default()
            })
        };
        for (owner, path, allowed) in [
            ("*", "/", true),
            ("/api", "/api", true),
            ("/api", "/api/v1", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/api*", "/apis", true),
            ("/*/v1", "/api/v1", false),
        ] {
            assert_eq!(url(owner, path), allowed, "{owner} {path}");
        }
    }

    #[test]
    fn a_resource_rule_allows_no_url_and_a_url_rule_no_resource() {
        let all = rule(&["*"], &["*"], &["*"], &[]);
        assert!(!all.allows(&Attributes {
            verb: "get".into(),
            path: Some("/".into()),
            ..Attributes::default()
        }));
        let url = Rule {
            verbs: vec!["*".into()],
            urls: vec!["*".into()],
            ..Rule::default()
        };
        assert!(!url.allows(&ask("get", "", "pods", "", "")));
    }

    #[test]
    fn values_of_a_wrong_type_grant_nothing() {
        let odd =
            value!({"rules": [{"verbs": "*", "apiGroups": ["*", 3], "resources": {"a": 1}}, 7]});
        let rules = Rule::list_of(&odd);
        assert!(
            rules
                .iter()
                .all(|r| !r.allows(&ask("get", "", "pods", "", "")))
        );
    }

    #[test]
    fn messages_show_rules_as_upstream_does() {
        let r = rule(&[""], &["pods", "secrets"], &["get"], &["a"]);
        assert_eq!(
            r.compact_string(),
            r#"{APIGroups:[""], Resources:["pods" "secrets"], ResourceNames:["a"], Verbs:["get"]}"#
        );
    }
}
