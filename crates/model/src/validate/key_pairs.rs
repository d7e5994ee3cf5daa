//! Whether a certificate and a key can be used together, as far as that shows without cryptography
//! (Go's `tls.X509KeyPair`).

use super::certificates::{Block, pem_blocks};
use super::x509;

/// What Go says of them.
pub(crate) fn problem(certificate: &[u8], key: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(certificate);
    let blocks = pem_blocks(&text);
    let Some(certificate) = blocks.iter().find(|b| b.kind == "CERTIFICATE") else {
        return Some(match &blocks[..] {
            [] => "tls: failed to find any PEM data in certificate input".into(),
            [one] if one.kind.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".into(),
            _ => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", kinds(&blocks)),
        });
    };
    let text = String::from_utf8_lossy(key);
    let blocks = pem_blocks(&text);
    let is_key = |b: &&Block<'_>| b.kind == "PRIVATE KEY" || b.kind.ends_with(" PRIVATE KEY");
    let Some(key) = blocks.iter().find(is_key) else {
        return Some(match &blocks[..] {
            [] => "tls: failed to find any PEM data in key input".into(),
            [one] if one.kind == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".into()
            }
            _ => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                kinds(&blocks)
            ),
        });
    };
    if !is_sequence(&certificate.data) {
        return Some("x509: malformed certificate".into());
    }
    (x509::certificate(&certificate.data).is_some() && !is_sequence(&key.data))
        .then(|| "tls: failed to parse private key".into())
}

/// At most as many as a header has room for.
fn kinds(blocks: &[Block<'_>]) -> String {
    let kinds: Vec<&str> = blocks.iter().take(1000).map(|b| b.kind).collect();
    kinds.join(" ")
}

/// Whether DER begins with a sequence that is all there.
fn is_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else {
        return false;
    };
    let (length, body) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let Some((digits, body)) = rest.split_at_checked(long & 0x7f) else {
                return false;
            };
            let length = digits.iter().fold(0_usize, |n, d| {
                n.saturating_mul(256).saturating_add(usize::from(*d))
            });
            (length, body)
        }
    };
    length <= body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pair_is_named_as_go_names_it() {
        let block = |kind: &str, data: &str| {
            format!("-----BEGIN {kind}-----\n{data}\n-----END {kind}-----\n").into_bytes()
        };
        let said = |a: &[u8], b: &[u8]| problem(a, b).unwrap_or_default();
        let (certificate, key) = (
            block("CERTIFICATE", "eA=="),
            block("EC PRIVATE KEY", "eA=="),
        );
        assert!(said(b"", b"").ends_with("any PEM data in certificate input"));
        assert!(said(&key, &certificate).ends_with("PEM inputs may have been switched"));
        assert!(said(&block("A", ""), &key).ends_with("following types: [A]"));
        assert!(said(&certificate, b"x").ends_with("any PEM data in key input"));
        assert!(said(&certificate, &certificate).starts_with("tls: found a certificate"));
        assert!(said(&certificate, &block("B", "")).ends_with("following types: [B]"));
        assert_eq!(said(&certificate, &key), "x509: malformed certificate");
        assert_eq!(said(&block("CERTIFICATE", "MAA="), &key), "");
    }
}
