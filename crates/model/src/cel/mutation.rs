//! The mutations of a MutatingAdmissionPolicy, evaluated and carried out (apiserver
//! `pkg/admission/plugin/policy/mutating/patch`).

use super::check::Checked;
use super::message;
use super::policy::{Compiler, Evaluation, Input, OutOfBudget, Refusal, Returns, Variable};
use crate::catalogue::Resource;
use crate::{Str, Value, apply, patch};

/// How a mutation says what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    ApplyConfiguration,
    JsonPatch,
}

impl PatchType {
    /// `spec.mutations[].patchType`
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ApplyConfiguration" => Some(Self::ApplyConfiguration),
            "JSONPatch" => Some(Self::JsonPatch),
            _ => None,
        }
    }

    fn returns(self) -> Returns {
        match self {
            Self::ApplyConfiguration => Returns::Object,
            Self::JsonPatch => Returns::JsonPatch,
        }
    }
}

/// One mutation of a policy.
#[derive(Debug)]
pub struct Mutation {
    pub patch: PatchType,
    pub source: Str,
    pub compiled: Result<Checked, Refusal>,
}

impl Mutation {
    /// `compiler` knows the policy's variables.
    #[must_use]
    pub fn new(compiler: &Compiler, patch: PatchType, source: &str) -> Self {
        let compiler = compiler.clone().with_patches();
        Self {
            patch,
            source: source.into(),
            compiled: compiler.compile(source, patch.returns()),
        }
    }

    /// `input.object` as the mutation makes it. It is neither decoded strictly nor defaulted.
    ///
    /// # Errors
    /// The budget is spent, or there is no such object: why, in upstream's words.
    pub fn mutate(
        &self,
        resource: &Resource,
        input: &Input<'_>,
        variables: &[Variable],
    ) -> Result<Result<Value, String>, OutOfBudget> {
        let mut evaluation = Evaluation::new(input, variables);
        let val = match evaluation.value(&self.source, &self.compiled)? {
            Ok(val) => val,
            Err(why) => return Ok(Err(why)),
        };
        let none = Value::Null;
        let object = input.object.unwrap_or(&none);
        Ok(match self.patch {
            PatchType::ApplyConfiguration => message::configuration(&val).and_then(|config| {
                apply::overlay(resource, object, &config)
                    .map_err(|why| format!("error applying patch: {why}"))
            }),
            PatchType::JsonPatch => message::json_patch(&val).and_then(|operations| {
                let mut patched = object.clone();
                match patch::json_patch_unless(&mut patched, &operations) {
                    Ok(true) => Ok(patched),
                    // What was tested is not so: the patch does not apply, which is no error.
                    Ok(false) => Ok(object.clone()),
                    Err(e) => Err(format!("JSON Patch: {}", e.message)),
                }
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::cel::policy::Declares;
    use crate::value;

    fn mutated(patch: &str, source: &str) -> Result<Value, String> {
        let catalogue = Catalogue::builtin(36).unwrap();
        let deployments = catalogue.lookup("apps", "v1", "deployments").unwrap();
        let object = value!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"a": "b"}},
            "spec": {
                "replicas": 3,
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}
            }
        });
        let request = value!({"operation": "CREATE"});
        let input = Input {
            object: Some(&object),
            old_object: None,
            request: &request,
            namespace: None,
            params: None,
            authorizer: None,
        };
        let mut compiler = Compiler::new(36, Declares::default());
        let variables = [Variable {
            name: "n".into(),
            compiled: compiler.variable("n", "object.spec.replicas"),
        }];
        let patch = PatchType::named(patch).unwrap();
        Mutation::new(&compiler, patch, source)
            .mutate(deployments, &input, &variables)
            .unwrap()
    }

    #[test]
    fn a_configuration_is_merged_into_the_object() {
        let new = mutated(
            "ApplyConfiguration",
            "Object{metadata: Object.metadata{labels: {'c': 'd'}}, spec: Object.spec{replicas: variables.n + 1, \
             template: Object.spec.template{spec: Object.spec.template.spec{containers: [\
             Object.spec.template.spec.containers{name: 'c', command: ['x']},\
             Object.spec.template.spec.containers{name: 'side'}]}}}}",
        );
        // A list of commands is atomic.
        assert_eq!(
            new.unwrap_err(),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: \
             .spec.template.spec.containers[0].command"
        );
        let new = mutated(
            "ApplyConfiguration",
            "Object{metadata: Object.metadata{labels: {'c': 'd'}}, spec: Object.spec{replicas: variables.n + 1, \
             template: Object.spec.template{spec: Object.spec.template.spec{containers: [\
             Object.spec.template.spec.containers{name: 'side'}]}}}}",
        )
        .unwrap();
        assert_eq!(
            new.at(&["metadata", "labels"]),
            Some(&value!({"a": "b", "c": "d"}))
        );
        assert_eq!(new.at(&["spec", "replicas"]), Some(&Value::Int(4)));
        let containers = new.at(&["spec", "template", "spec", "containers"]);
        assert_eq!(
            containers,
            Some(&value!([{"name": "c", "image": "i"}, {"name": "side"}]))
        );
        let why = mutated(
            "ApplyConfiguration",
            "Object{spec: Object.spec{replicas: 'x'}}",
        );
        assert_eq!(
            why.unwrap_err(),
            "error applying patch: failed to convert patch object to typed object: .spec.replicas: expected \
             numeric (int or float), got string"
        );
        let why = mutated("ApplyConfiguration", "Object{spec: Object.wrong{}}").unwrap_err();
        assert!(
            why.starts_with("type mismatch: unexpected type name"),
            "{why}"
        );
        let why = mutated("ApplyConfiguration", "object.nope").unwrap_err();
        assert_eq!(
            why,
            "compilation error: must evaluate to Object but got dyn"
        );
    }

    #[test]
    fn a_patch_is_carried_out_unless_its_test_fails() {
        let replicas = |source: &str| {
            mutated("JSONPatch", source).map(|o| o.at(&["spec", "replicas"]).cloned())
        };
        assert_eq!(
            replicas("[JSONPatch{op: 'replace', path: '/spec/replicas', value: variables.n * 2}]"),
            Ok(Some(Value::Int(6)))
        );
        assert_eq!(
            replicas(
                "[JSONPatch{op: 'test', path: '/spec/replicas', value: 9},\
                 JSONPatch{op: 'remove', path: '/spec/replicas'}]"
            ),
            Ok(Some(Value::Int(3)))
        );
        assert_eq!(
            replicas(
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'},\
                 JSONPatch{op: 'remove', path: '/spec/replicas'}]"
            ),
            Ok(None)
        );
        assert!(replicas("[JSONPatch{op: 'remove', path: '/nope'}]").is_err());
        assert_eq!(
            replicas("[1]").unwrap_err(),
            "compilation error: must evaluate to list(JSONPatch) but got list(int)"
        );
    }
}
