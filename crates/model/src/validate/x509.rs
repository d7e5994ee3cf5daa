//! What certificates and requests of certificates say. Signatures are not verified: that needs
//! cryptography, which this crate does without.

use x509_parser::prelude::{
    FromDer as _, GeneralName, SubjectPublicKeyInfo, X509Certificate, X509CertificationRequest,
};
use x509_parser::public_key::PublicKey;

/// What this project looks at in a certificate.
pub(super) struct Certificate {
    /// the basic constraints call it one of an authority
    pub(super) authority: bool,
    pub(super) key: Key,
    /// seconds since 1970
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) hosts: Vec<String>,
}

/// A public key; equal when it is the same.
#[derive(PartialEq)]
pub(super) struct Key {
    pub(super) kind: Kind,
    der: Vec<u8>,
}

#[derive(PartialEq)]
pub(super) enum Kind {
    Ed25519,
    /// the name of the curve
    Ecdsa(&'static str),
    /// bits of the modulus, in whole bytes
    Rsa(usize),
    Unknown,
}

const ED25519: &str = "1.3.101.112";
const ECDSA: &str = "1.2.840.10045.2.1";
const CURVES: [(&str, &str); 4] = [
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
];

pub(super) fn certificate(der: &[u8]) -> Option<Certificate> {
    let (rest, parsed) = X509Certificate::from_der(der).ok()?;
    let constraints = parsed.basic_constraints().ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|n| &n.value.general_names);
    let hosts = names.filter_map(|name| match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        _ => None,
    });
    rest.is_empty().then_some(Certificate {
        authority: constraints.is_some_and(|c| c.value.ca),
        key: key(parsed.public_key())?,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        hosts: hosts.collect(),
    })
}

/// The key that a request (PKCS#10) is for.
pub(super) fn request(der: &[u8]) -> Option<Key> {
    let (rest, parsed) = X509CertificationRequest::from_der(der).ok()?;
    let key = key(&parsed.certification_request_info.subject_pki)?;
    rest.is_empty().then_some(key)
}

pub(super) fn public_key(der: &[u8]) -> Option<Key> {
    let (rest, parsed) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let key = key(&parsed)?;
    (rest.is_empty() && key.kind != Kind::Unknown).then_some(key)
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> Option<Key> {
    let kind = match info.algorithm.algorithm.to_id_string().as_str() {
        ED25519 => Kind::Ed25519,
        ECDSA => {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let curve = curve.to_id_string();
            Kind::Ecdsa(CURVES.iter().find(|(id, _)| *id == curve)?.1)
        }
        _ => match info.parsed() {
            Ok(PublicKey::RSA(rsa)) => Kind::Rsa(rsa.key_size().div_ceil(8) * 8),
            _ => Kind::Unknown,
        },
    };
    Some(Key {
        kind,
        der: info.raw.to_vec(),
    })
}
