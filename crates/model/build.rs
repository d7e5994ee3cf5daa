//! The descriptions of built-in types and fields, taken from the sources of `k8s-openapi`.
//!
//! They are upstream's prose and are not in this repository. `k8s-openapi` is in the dependency graph
//! anyway (`kube` is made of it) and writes them, unchanged, into the schemas of its types. Its
//! sources are read, not compiled: a second build of that crate for this script would cost a minute.
//! Where they are not to be had (the fuzzers' workspace), documents have no descriptions.

#![allow(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first that has a text wins.
const VERSIONS: [&str; 5] = ["v1_36", "v1_37", "v1_35", "v1_34", "v1_33"];

/// By type, then by field; the type's own text is under the empty name.
type Texts = BTreeMap<String, BTreeMap<String, String>>;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let mut texts = Texts::new();
    if let Some(sources) = sources() {
        println!("cargo::rerun-if-changed={}", sources.display());
        for version in VERSIONS {
            walk(&sources.join(version), &mut texts);
        }
    }
    if texts.is_empty() {
        println!(
            "cargo::warning=k8s-openapi was not found: OpenAPI documents have no descriptions"
        );
    }
    let mut out = String::new();
    for (name, fields) in &texts {
        out.push_str(&format!("%{name}\n"));
        for (field, text) in fields {
            out.push_str(&format!("{field}\t{}\n", text.replace('\n', "\u{1}")));
        }
    }
    let packed = miniz_oxide::deflate::compress_to_vec(out.as_bytes(), 9);
    let target = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&target).join("descriptions.deflate"), packed)
        .expect("OUT_DIR is writable");
}

/// The `src` directory of k8s-openapi, wherever cargo has it (registry or vendored).
fn sources() -> Option<PathBuf> {
    let (cargo, target) = (std::env::var_os("CARGO")?, std::env::var_os("TARGET")?);
    // What other platforms would need may not have been fetched.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .arg("--filter-platform")
        .arg(target)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let manifests = text.split("\"manifest_path\":\"").skip(1);
    let manifest = manifests.filter_map(|t| t.split('"').next()).find(|path| {
        let directory = Path::new(path).parent().and_then(Path::file_name);
        directory.is_some_and(|d| d.to_string_lossy().starts_with("k8s-openapi-"))
    })?;
    let sources = Path::new(manifest).parent()?.join("src");
    sources.is_dir().then_some(sources)
}

fn walk(directory: &Path, texts: &mut Texts) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, texts);
        } else if let Ok(source) = std::fs::read_to_string(&path) {
            read(&source, texts);
        }
    }
}

/// A file has one type: its name in the first line, its schema as JSON-like code further down.
fn read(source: &str, texts: &mut Texts) {
    let Some(name) = source.strip_prefix("// Generated from definition ") else {
        return;
    };
    let name = name.lines().next().unwrap_or_default();
    let Some((_, schema)) = source.split_once("schemars::json_schema!({") else {
        return;
    };
    let fields = texts.entry(name.to_owned()).or_default();
    let mut add = |field: &str, line: &str| {
        if let Some(text) = literal(line) {
            fields.entry(field.to_owned()).or_insert(text);
        }
    };
    let mut field = None;
    for line in schema.lines() {
        let depth = line.len() - line.trim_start().len();
        let rest = line.trim_start();
        if depth == 12 && rest.starts_with("\"description\": ") {
            add("", &rest["\"description\": ".len()..]);
        } else if depth == 16 && rest.ends_with('{') {
            field = rest.strip_prefix('"').and_then(|r| r.split('"').next());
        } else if depth == 20
            && let Some(field) = field
        {
            let inserted = "schema_obj.ensure_object().insert(\"description\".into(), ";
            if let Some(text) = rest
                .strip_prefix("\"description\": ")
                .or_else(|| rest.strip_prefix(inserted))
            {
                add(field, text);
            }
        }
    }
}

/// The string literal that `text` begins with.
fn literal(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut out = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'u' => {
                    let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.push(
                        u32::from_str_radix(&digits, 16)
                            .ok()
                            .and_then(char::from_u32)?,
                    );
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}
