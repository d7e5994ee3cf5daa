//! Expressions made to take too long, too much or too deep: each ends with a clear error.

use freehold_model::cel::cost;
use freehold_model::cel::ctx::{Ctx, PER_CALL_LIMIT};
use freehold_model::cel::decl::Decl;
use freehold_model::cel::env::Env;
use freehold_model::cel::eval::{evaluate, instantiate};
use freehold_model::cel::types::Type;
use freehold_model::cel::val::Val;
use freehold_model::{Value, json, value};
use std::time::{Duration, Instant};

/// Generous for a debug build on a busy machine; unbounded work takes hours.
const SOON: Duration = Duration::from_secs(120);

fn env() -> Env {
    Env::new(36).with("x", Type::Dyn)
}

/// The value, or the error of compiling or evaluating.
fn run(source: &str, x: &Value) -> Result<String, String> {
    let started = Instant::now();
    let result = (|| {
        let checked = env()
            .compile(source)
            .map_err(|issues| issues.display(source))?;
        let _ = cost::estimate(&checked, None);
        instantiate(&checked).map_err(|e| e.message)?;
        let vars = [("x", Val::of(x, Decl::dynamic()).unwrap())];
        let mut ctx = Ctx::new(LIMIT_OF_TESTS);
        let val = evaluate(&checked, &&vars[..], &mut ctx).map_err(|e| e.message)?;
        Ok(format!("{val:?}").chars().take(200).collect())
    })();
    let took = started.elapsed();
    assert!(
        took < SOON,
        "{took:?} for {}",
        &source[..source.len().min(200)]
    );
    result
}

fn refused(source: &str, x: &Value, why: &str) {
    let error = run(source, x).unwrap_err();
    assert!(error.contains(why), "{}", &error[..error.len().min(500)]);
}

/// A tenth of the real one: debug builds are slow, and the way it ends is the same.
const LIMIT_OF_TESTS: u64 = PER_CALL_LIMIT / 10;
const LIMIT: &str = "operation cancelled: actual cost limit exceeded";

#[test]
fn depth_is_bounded_however_it_is_made() {
    let nested =
        |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    let deep = "expression recursion limit exceeded: ";
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("dyn(", ")"),
        ("-(", ")"),
    ] {
        refused(&nested(15_000, open, close), &Value::Null, deep);
    }
    refused(&vec!["1"; 30_000].join("+"), &Value::Null, deep);
    refused(&format!("x{}", ".a".repeat(40_000)), &Value::Null, deep);
    refused(&"x ? 1 : ".repeat(10_000), &Value::Null, deep);
    // `&&` is balanced: its terms do not make it deep.
    assert!(run(&vec!["true"; 10_000].join("&&"), &Value::Null).is_ok());
    let folds = format!("{}true{}", "[1].all(v, ".repeat(5_000), ")".repeat(5_000));
    refused(&folds, &Value::Null, deep);
}

#[test]
fn size_is_bounded_however_it_is_made() {
    refused(
        &" ".repeat(100_001),
        &Value::Null,
        "expression code point size exceeds limit: size: 100001, limit 100000",
    );
    // Each optMap writes its target twice.
    let doubled = format!("optional.of(1){}", ".optMap(a, a)".repeat(60));
    refused(&doubled, &Value::Null, "limit exceeded");
    // Each step doubles the type.
    let mut types = String::from("1");
    for i in 0..40 {
        types = format!("optional.of({types}).optMap(v{i}, {{string(v{i}) : v{i}, 'k': v{i}}})");
    }
    assert!(run(&types, &Value::Null).is_err());
    let mut maps = String::from("1");
    for i in 0..12 {
        maps = format!("[{maps}].map(v{i}, {{v{i}: v{i}}})");
    }
    refused(
        &maps,
        &Value::Null,
        "the type of the expression is too large",
    );
}

#[test]
fn work_is_bounded_however_it_is_made() {
    let list: Vec<Value> = (0..5_000).map(Value::from).collect();
    let x = value!({"l": list, "s": ("a".repeat(1_000_000))});
    for source in [
        "x.l.all(a, x.l.all(b, x.l.all(c, true)))",
        "x.l.map(a, x.l.map(b, x.l.map(c, c)))",
        "x.l.filter(a, x.l.exists(b, b == -1)).size() == 0",
        "x.l.all(a, x.s.contains(x.s))",
        "x.l.all(a, !x.s.matches('(a*)*b'))",
        "x.l.all(a, (x.s + x.s).size() > 0)",
        "x.l.all(a, x.l == x.l)",
        "x.l.all(a, !(-1 in x.l))",
        "x.l.all(a, [x.l, x.l] == [x.l, x.l])",
    ] {
        refused(source, &x, LIMIT);
    }
    // Lists that double for next to nothing.
    let mut doubled = String::from("v0");
    for i in 0..40 {
        doubled = format!("optional.of({}).optMap(v{i}, v{i} + v{i}).value()", {
            if i == 0 {
                "x.l".to_owned()
            } else {
                doubled.clone()
            }
        });
        if doubled.len() > 50_000 {
            break;
        }
    }
    assert!(run(&doubled, &x).is_err());
}

/// Expressions upstream was asked about, cut, doubled and mixed: nothing panics or hangs.
#[test]
fn mutilated_expressions_do_no_harm() {
    let recorded = include_str!("../recorded/cel/expressions.jsonl");
    let sources: Vec<String> = recorded
        .lines()
        .filter_map(|l| {
            let line = json::parse(l.as_bytes()).unwrap().value;
            line.str_at(&["e"]).map(str::to_owned)
        })
        .filter(|e| e.len() < 300)
        .collect();
    let rounds = match option_env!("CEL_ROUNDS") {
        Some(n) => n.parse().unwrap(),
        None => 4_000,
    };
    let x = value!({"a": 1, "b": [1, 2, 3], "c": {"d": "e"}, "txt": "t"});
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    let mut worked = 0;
    for _ in 0..rounds {
        let (a, b) = (&sources[next(sources.len())], &sources[next(sources.len())]);
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        let (i, j) = (next(a.len() + 1), next(b.len() + 1));
        let mutilated: String = match next(4) {
            0 => a[..i].iter().chain(&b[j..]).collect(),
            1 => a[..i].iter().chain(&b).chain(&a[i..]).collect(),
            2 => a[..i].iter().chain(&a[(i + 1).min(a.len())..]).collect(),
            _ => a
                .iter()
                .chain(&[' ', '?', ' '])
                .chain(&b)
                .chain(&[':', '1'])
                .collect(),
        };
        // `x` is all that is declared here.
        worked += usize::from(run(&mutilated, &x).is_ok());
    }
    assert!(worked > rounds / 200, "{worked} of {rounds} had a value");
}

/// The threads of a server have 2 MiB, of which a request has used some already.
#[test]
fn the_deepest_expression_fits_on_a_small_stack() {
    let probe = || {
        for (open, close) in [("(", ")"), ("[", "]"), ("dyn({1:", "})"), ("-(", ")")] {
            let nested = format!(
                "{}1{}",
                open.repeat(98 / open.matches(['(', '[', '{']).count()),
                close.repeat(98 / close.len())
            );
            assert!(run(&nested, &Value::Null).is_ok(), "{open}");
        }
        assert!(run(&vec!["1"; 249].join("+"), &Value::Null).is_ok());
        assert!(run(&vec!["[1]"; 248].join("+"), &Value::Null).is_ok());
        let folds = format!("{}true{}", "[1].all(v, ".repeat(60), ")".repeat(60));
        assert!(run(&folds, &Value::Null).is_ok());
    };
    std::thread::Builder::new()
        .stack_size(1280 * 1024)
        .spawn(probe)
        .unwrap()
        .join()
        .unwrap();
}
