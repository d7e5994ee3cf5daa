//! Every developer task of the project: `cargo xtask help`.

mod check;
mod directions;
mod oracle;
mod sh;
mod skips;
mod soak;
mod test;
mod tidy;
mod tools;
mod upstream;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask <task>

  check      format, clippy, licences and bans, dependency directions, tidy rules, generated files
  test       check, then every test (installs Debian packages it needs when run as root); `test WORD…`:
             those whose names contain a word; --whole: a test that is skipped fails
  tidy       only the tidy rules
  upstream   build upstream's kube-apiserver, etcd, kubectl … into the user cache (needs Go);
             `upstream kine` builds kine, for `bench postgres`
  catalogue  regenerate the API catalogue from upstream's modules (needs Go and `upstream`)
  record     send the golden corpus of crates/apiserver to a real kube-apiserver and write down what it
             answers; `record NAME`: one file of it (needs `upstream`)
  oracle     compare crate model with upstream's own code over random requests: --objects N, --seed S,
             --kind K,K and --sort S,S (needs Go)
  crds       write crds/*.yaml from the Rust types
  fuzz       run every fuzz target: --seconds N each (needs the nightly toolchain)
  bench      run the benchmarks of a crate: `bench store|postgres|model|api`; of the store's only a part:
             `bench store etcd [writes|tenants|reads]|engine|open|neighbours`
  soak       long runs of tests that are short in CI: `soak store --kills N --steps N`, `soak apiserver`
";

fn main() -> std::process::ExitCode {
    match task() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // The chain, once, without a backtrace: the person wants to know what to do.
            let _ = sh::complain(format!("error: {error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}

fn task() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    std::env::set_current_dir(sh::root())?;
    if rest.iter().any(|arg| matches!(*arg, "--help" | "-h")) {
        return sh::say(HELP);
    }
    match args.first().map(String::as_str) {
        Some("check") => check::run(),
        Some("test") => test::run(&rest),
        Some("tidy") => tidy::run(),
        Some("upstream") => match &rest[..] {
            [] => upstream::build(),
            ["kine"] => upstream::kine(),
            _ => bail!("usage: cargo xtask upstream [kine]"),
        },
        Some("catalogue") => upstream::catalogue(),
        Some("record") => upstream::record(&rest),
        Some("oracle") => oracle::run(&rest),
        Some("crds") => sh::run(
            "cargo",
            &["run", "--quiet", "-p", "freehold-api", "--example", "crds"],
        ),
        Some("fuzz") => test::fuzz(&rest),
        Some("bench") => test::bench(&rest),
        Some("soak") => soak::run(&rest),
        None | Some("help" | "--help" | "-h") => sh::say(HELP),
        Some(other) => bail!("no task `{other}`; `cargo xtask help` lists them"),
    }
}
