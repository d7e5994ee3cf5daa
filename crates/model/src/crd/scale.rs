//! What the scale subresource of a custom object reads must be numbers and a string: apiextensions
//! `pkg/registry/customresource/validator.go`, with the words of apimachinery's accessors.

use super::Custom;
use crate::Value;
use crate::field::{ErrorKind, FieldError};
use crate::strategic::{go_type, go_value};

pub(super) fn check(custom: &Custom, object: &Value, errors: &mut Vec<FieldError>) {
    let Some([spec, status, selector]) = &custom.scale else {
        return;
    };
    for path in [spec, status] {
        let value = match nested(object, path) {
            Ok(value) => value.filter(|v| !v.is_null()),
            Err(why) => {
                errors.push(FieldError::new(ErrorKind::Invalid, path.as_str(), "0", why));
                continue;
            }
        };
        match value {
            None | Some(Value::Int(0..=0x7fff_ffff)) => {}
            Some(Value::Int(n)) if *n < 0 => {
                errors.push(FieldError::invalid_int(
                    path.as_str(),
                    *n,
                    "should be a non-negative integer",
                ));
            }
            Some(Value::Int(n)) => {
                let why = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid_int(path.as_str(), *n, why));
            }
            Some(other) => {
                let why = wrong(path, other, "int64");
                errors.push(FieldError::new(ErrorKind::Invalid, path.as_str(), "0", why));
            }
        }
    }
    if selector.is_empty() {
        return;
    }
    let why = match nested(object, selector) {
        Ok(None | Some(Value::String(_) | Value::Null)) => return,
        Ok(Some(other)) => wrong(selector, other, "string"),
        Err(why) => why,
    };
    errors.push(FieldError::invalid_str(selector.as_str(), "", why));
}

fn wrong(path: &str, value: &Value, wanted: &str) -> String {
    let mut shown = String::new();
    go_value(&mut shown, value);
    format!(
        "{path} accessor error: {shown} is of the type {}, expected {wanted}",
        go_type(value)
    )
}

/// The value at a path of fields; an error when something on the way is no object.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut here = object;
    let mut walked = String::new();
    for name in path.trim_start_matches('.').split('.') {
        walked.push('.');
        walked.push_str(name);
        here = match here {
            Value::Null => return Ok(None),
            Value::Object(map) => match map.get(name) {
                Some(value) => value,
                None => return Ok(None),
            },
            other => return Err(wrong(&walked, other, "map[string]interface{}")),
        };
    }
    Ok(Some(here))
}
