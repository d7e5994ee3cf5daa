//! Tests of [`super`].

use super::*;
use crate::value;

fn parsed(text: &str) -> String {
    LabelSelector::parse(text).unwrap().to_string()
}

fn error(text: &str) -> String {
    LabelSelector::parse(text).unwrap_err().message
}

/// apimachinery `pkg/labels/selector_test.go`
#[test]
fn label_selectors_parse_as_upstream_parses_them() {
    for (text, want) in [
        ("", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x=,z= ", "x=,z="),
        ("!x", "!x"),
        ("x>1", "x>1"),
        ("x>1,z<5", "x>1,z<5"),
        ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z!="),
        ("x notin (a,b) , in in (in)", "in=in,x notin (a,b)"),
        ("x==a", "x=a"),
        ("b,a", "a,b"),
        ("x in (,)", "x="),
        ("x in (a,)", "x in (,a)"),
        ("notin,in", "in,notin"),
    ] {
        assert_eq!(parsed(text), want, "{text}");
    }
}

#[test]
fn label_selector_errors_are_worded_as_upstreams() {
    let label = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    for (text, want) in [
        ("x=a||y=b", format!("unable to parse requirement: values[0][x]: Invalid value: \"a||y\": {}", rules::label_value("a||y")[0])),
        ("x==a==b", "found '==', expected: ',' or 'end of string'".into()),
        ("!x=a", "found '=', expected: ',' or 'end of string'".into()),
        ("x,", "found '', expected: identifier after ','".into()),
        (",x", "found ',', expected: !, identifier, or 'end of string'".into()),
        ("x in a", "unable to parse requirement: found 'a' expected: '('".into()),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'".into()),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt".into()),
        ("x>a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer".into()),
        ("-x", format!("unable to parse requirement: <nil>: Invalid value: \"-x\": {label}")),
        ("x=(", "unable to parse requirement: found '(', expected: identifier".into()),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
}

#[test]
fn label_selectors_match_as_upstreams() {
    let tree: Map = [("a", "b"), ("n", "5"), ("e", "")].into_iter().collect();
    let labels = Labels::of(&tree);
    for (text, want) in [
        ("a=b", true),
        ("a=c", false),
        ("a!=c,x!=c", true),
        ("a in (c,b)", true),
        ("x notin (a)", true),
        ("a notin (b)", false),
        ("e", true),
        ("!e", false),
        ("!x", true),
        ("n>4,n<6", true),
        ("n>5", false),
        ("a>1", false),
        ("x<1", false),
        ("e=", true),
        ("x=", false),
    ] {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.matches(Some(&tree)), want, "{text}");
        assert_eq!(selector.selects(&labels), want, "{text}");
    }
    assert!(LabelSelector::parse("!x").unwrap().matches(None));
    let none = Labels::default();
    assert!(LabelSelector::parse("!x").unwrap().selects(&none));
    assert!(LabelSelector::default().selects(&none));
    assert!(LabelSelector::default().matches(None));
}

/// apimachinery `pkg/apis/meta/v1/helpers.go` LabelSelectorAsSelector
#[test]
fn the_object_form_compiles_to_the_same_selector() {
    let selector = value!({
        "matchLabels": {"b": "1"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x", "y"]},
            {"key": "c", "operator": "DoesNotExist"}
        ]
    });
    assert_eq!(
        LabelSelector::from_value(&selector).unwrap(),
        LabelSelector::parse("b=1,a in (x,y),!c").unwrap()
    );
    let bad = value!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
    assert_eq!(
        LabelSelector::from_value(&bad).unwrap_err().message,
        "\"Like\" is not a valid label selector operator"
    );
    let bad = value!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
    assert_eq!(
        LabelSelector::from_value(&bad).unwrap_err().message,
        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
}

/// apimachinery `pkg/fields/selector_test.go`
#[test]
fn field_selectors_parse_and_unescape() {
    let terms = |text: &str| {
        let parsed = FieldSelector::parse(text).unwrap();
        parsed
            .terms
            .iter()
            .map(|(p, v, e)| format!("{p}{}{v}", if *e { "=" } else { "!=" }))
            .collect::<Vec<_>>()
    };
    assert_eq!(terms("x=a,y!=b,w==c"), ["w=c", "x=a", "y!=b"]);
    assert_eq!(terms(r"x=a\,b\=c\\"), [r"x=a,b=c\"]);
    assert_eq!(terms(""), [""; 0]);
    assert_eq!(terms("x=,,"), ["x="]);
    let error = |text: &str| FieldSelector::parse(text).unwrap_err().message;
    assert_eq!(
        error("x=a,y"),
        "invalid selector: 'x=a,y'; can't understand 'y'"
    );
    assert_eq!(
        error(r"x=\a"),
        r"invalid field selector: invalid escape sequence: \a"
    );
    assert_eq!(
        error("x=a=b"),
        "invalid field selector: unescaped character in value: 61"
    );
}

#[test]
fn selectors_are_of_bounded_length() {
    let long = "a,".repeat(crate::limits::MAX_SELECTOR);
    for code in [
        LabelSelector::parse(&long).unwrap_err().code,
        FieldSelector::parse(&long).unwrap_err().code,
    ] {
        assert_eq!(code, 400);
    }
}
