//! Any text as an expression: parsed, checked, priced and evaluated within its budget, whatever it
//! is.
#![no_main]

use freehold_model::Value;
use freehold_model::cel::ctx::{Ctx, PER_CALL_LIMIT};
use freehold_model::cel::env::Env;
use freehold_model::cel::eval::{evaluate, instantiate};
use freehold_model::cel::types::Type;
use freehold_model::cel::val::Val;
use freehold_model::cel::{cost, shape};
use std::sync::{Arc, LazyLock};

const SCHEMA: &str = r#"{"type":"object","properties":{"s":{"type":"string","maxLength":20},
    "n":{"type":"integer"},"f":{"type":"number"},"b":{"type":"boolean"},
    "t":{"type":"string","format":"date-time"},"d":{"type":"string","format":"duration"},
    "y":{"type":"string","format":"byte"},"p":{"x-kubernetes-int-or-string":true},
    "l":{"type":"array","maxItems":5,"items":{"type":"string","maxLength":5}},
    "m":{"type":"object","maxProperties":5,"additionalProperties":{"type":"integer"}},
    "k":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
      "items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"v":{"type":"integer"}}}}}}"#;
const OBJECT: &str = r#"{"s":"hello","n":3,"f":1.5,"b":true,"t":"2024-01-01T00:00:00Z","d":"1h","y":"YWJj",
    "p":"50%","l":["a","b"],"m":{"x":1,"y":2},"k":[{"name":"a","v":1},{"name":"b"}]}"#;

fn parse(text: &str) -> Value {
    freehold_model::json::parse(text.as_bytes())
        .expect("good JSON")
        .value
}

static SHAPE: LazyLock<Arc<freehold_model::cel::decl::Decl>> =
    LazyLock::new(|| shape::of_json(&parse(SCHEMA), false).expect("a shape"));
static SELF: LazyLock<Value> = LazyLock::new(|| parse(OBJECT));

libfuzzer_sys::fuzz_target!(|source: &str| {
    let t = SHAPE.type_named("selfType");
    let env = Env::new(36)
        .with("self", t.clone())
        .with("oldSelf", Type::optional(t))
        .with("x", Type::Dyn)
        .sized(Arc::clone(&SHAPE));
    let checked = match env.compile(source) {
        Ok(checked) => checked,
        Err(issues) => {
            assert!(!issues.display(source).is_empty());
            return;
        }
    };
    let estimate = cost::estimate(&checked, env.root());
    assert!(estimate.min <= estimate.max, "{source}");
    if instantiate(&checked).is_err() {
        return;
    }
    let this = Val::of(&SELF, &SHAPE).expect("fits");
    let dynamic = Val::of(&SELF, freehold_model::cel::decl::Decl::dynamic()).expect("fits");
    let values = [
        ("self", this.clone()),
        ("oldSelf", this.some()),
        ("x", dynamic),
    ];
    let mut ctx = Ctx::new(PER_CALL_LIMIT);
    let result = evaluate(&checked, &&values[..], &mut ctx);
    // The step that goes over the limit is charged, and is the last.
    match result {
        Ok(_) => assert!(ctx.cost() <= PER_CALL_LIMIT, "{source}"),
        Err(failure) => assert!(!failure.message.is_empty()),
    }
});
