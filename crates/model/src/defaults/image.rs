//! Image references, as far as the default pull policy needs them
//! (`github.com/distribution/reference`, kubernetes `pkg/util/parsers/parsers.go`).

/// `Always` for the tag `latest`, given or implied. A reference that is not valid has no tag.
pub(super) fn pull_policy(reference: &str) -> &'static str {
    // Whatever comes before it: this is no such tag.
    let end = reference.bytes().rposition(|b| matches!(b, b'/' | b':'));
    if let Some(end) = end
        && reference.as_bytes()[end] == b':'
        && &reference[end..] != ":latest"
        && !reference.bytes().any(|b| b == b'@')
    {
        return "IfNotPresent";
    }
    if tag(reference).is_some_and(|t| t == "latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The tag of a valid reference: `latest` when it has neither tag nor digest.
fn tag(reference: &str) -> Option<&str> {
    // 64 hexadecimal digits are an image id, which is no name.
    if reference.len() == 64
        && reference
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let (rest, digest) = reference
        .split_once('@')
        .map_or((reference, None), |(r, d)| (r, Some(d)));
    if !digest.is_none_or(is_digest) {
        return None;
    }
    // A colon after the last slash starts the tag; before it, a port.
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    if !is_name(name) || !tag.is_none_or(is_tag) {
        return None;
    }
    match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    }
}

fn is_name(name: &str) -> bool {
    let (domain, path) = match name.split_once('/') {
        // The first part is a registry only if it looks like a host (`splitDockerDomain`).
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    // A name without a registry and a slash is one of `library`.
    let prefix = if domain.is_none() && !path.contains('/') {
        "library/".len()
    } else {
        0
    };
    prefix + path.len() <= 255 && domain.is_none_or(is_domain) && path.split('/').all(is_component)
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(':') {
        Some(i) if !domain.ends_with(']') => (&domain[..i], Some(&domain[i + 1..])),
        _ => (domain, None),
    };
    if !port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Lower-case letters and digits, joined by one dot, one or two underscores, or any hyphens.
fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| alnum(*b)) || !bytes.last().is_some_and(|b| alnum(*b)) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn only_latest_is_always_pulled() {
        let hex = "0123456789abcdef".repeat(4);
        for image in [
            "nginx",
            "nginx:latest",
            "a.b:5000/x/y",
            "localhost/x",
            "x__y/z--q",
            "r.io/a@b",
            &format!("nginx:latest@sha256:{hex}"),
            "",
        ] {
            let expected = if image.is_empty() || image.contains("@b") {
                "IfNotPresent"
            } else {
                "Always"
            };
            assert_eq!(pull_policy(image), expected, "{image}");
        }
        let pinned = [
            format!("nginx@sha256:{hex}"),
            hex.clone(),
            "nginx:1.2".into(),
            "Nginx".into(),
            "a:b:c".into(),
            "x//y".into(),
            "a:b:latest".into(),
            "a:latest:b".into(),
            format!("a:1@sha256:{hex}"),
        ];
        for image in pinned {
            assert_eq!(pull_policy(&image), "IfNotPresent", "{image}");
        }
    }
}
