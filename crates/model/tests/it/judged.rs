//! What upstream's strategies said of random requests (`upstream/cmd/judge`): a few of each kind and
//! sort. `cargo xtask oracle` compares as many more as one likes.

#[path = "../../examples/oracle/compare.rs"]
pub(crate) mod compare;

use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR};

const RECORDED: &str = include_str!("../recorded/judged.tsv");

#[test]
fn random_requests_are_judged_as_upstream_judges_them() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in RECORDED.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [sort, kind, rest @ ..] = &parts[..] else {
            panic!("a line of a sort, a kind and more");
        };
        count += 1;
        let differences = compare::line(&catalogue, sort, kind, rest).expect("a line");
        if !differences.is_empty() {
            wrong.push(format!("{sort} {kind}:\n  {}", differences.join("\n  ")));
        }
    }
    assert!(count > 300, "only {count} requests are recorded");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
