//! Certificates and keys: ECDSA P-256 throughout.
//!
//! Nothing here writes files; who does, writes them with mode 0600.

use crate::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::time::Duration;
use time::OffsetDateTime;

/// Clocks may differ by this much before a fresh certificate is refused.
const SKEW: Duration = Duration::from_mins(5);
/// A certificate authority outlives what it signs.
const CA_VALID: Duration = Duration::from_hours(24 * 365 * 10);
/// The most bytes of a signing request that are looked at.
const MAX_REQUEST: usize = 16 * 1024;

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// A key pair for service-account tokens: PKCS#8 and SubjectPublicKeyInfo, both PEM.
#[derive(Clone)]
pub struct TokenKeys {
    pub private: String,
    pub public: String,
}

impl TokenKeys {
    /// A new pair.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn generate() -> Result<Self> {
        let key = new_key()?;
        Ok(Self {
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        })
    }
}

/// A key and a signing request for it: what a client makes to ask for a certificate.
pub struct Request {
    pub csr: String,
    pub key: String,
}

impl Request {
    /// A request in the name of `common_name`; the signer decides on the name in the end.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn generate(common_name: &str) -> Result<Self> {
        let key = new_key()?;
        let csr = parameters(common_name, &[])?
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(Error::pki("cannot make a certificate request"))?;
        Ok(Self {
            csr,
            key: key.serialize_pem(),
        })
    }
}

/// A certificate authority.
pub struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, valid for ten years.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn generate(common_name: &str) -> Result<Self> {
        let key = new_key()?;
        let mut params = parameters(common_name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        limit(&mut params, CA_VALID);
        let cert = params
            .self_signed(&key)
            .map_err(Error::pki("cannot sign a certificate authority"))?
            .pem();
        Ok(Self {
            cert,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority kept as PEM.
    ///
    /// # Errors
    /// When either is unreadable.
    pub fn from_pem(cert: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key)
            .map_err(Error::pki("cannot read the key of a certificate authority"))?;
        let issuer = Issuer::from_ca_cert_pem(cert, key)
            .map_err(Error::pki("cannot read a certificate authority"))?;
        Ok(Self {
            cert: cert.to_owned(),
            issuer,
        })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// Its key, PEM.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A serving certificate for names and addresses.
    ///
    /// # Errors
    /// When a name is no name.
    pub fn serving(&self, common_name: &str, names: &[String], valid: Duration) -> Result<Pair> {
        let mut params = parameters(common_name, &[])?;
        params.subject_alt_names = names
            .iter()
            .map(|name| subject_alternative(name))
            .collect::<Result<_>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params, valid);
        self.issue(&params)
    }

    /// A client certificate for a user in at most two groups.
    ///
    /// # Errors
    /// When there are more groups than a name can carry.
    pub fn client(&self, user: &str, groups: &[&str], valid: Duration) -> Result<Pair> {
        self.issue(&client_parameters(user, groups, valid)?)
    }

    /// Signs the key of a request as a client certificate for `user` and `groups`. Of the request
    /// only the key counts; its signature is checked, its names and extensions are not taken.
    ///
    /// # Errors
    /// When the request is unreadable, too large, or not signed by its own key.
    pub fn sign_request(
        &self,
        csr: &str,
        user: &str,
        groups: &[&str],
        valid: Duration,
    ) -> Result<String> {
        if csr.len() > MAX_REQUEST {
            return Err(Error::Invalid(format!(
                "the certificate request has more than {MAX_REQUEST} bytes"
            )));
        }
        let mut request = CertificateSigningRequestParams::from_pem(csr)
            .map_err(Error::pki("cannot read the certificate request"))?;
        request.params = client_parameters(user, groups, valid)?;
        let cert = request
            .signed_by(&self.issuer)
            .map_err(Error::pki("cannot sign a client certificate"))?;
        Ok(cert.pem())
    }

    fn issue(&self, params: &CertificateParams) -> Result<Pair> {
        let key = new_key()?;
        let cert = params
            .signed_by(&key, &self.issuer)
            .map_err(Error::pki("cannot sign a certificate"))?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// From when until when a PEM certificate is valid.
///
/// # Errors
/// When it is unreadable.
pub fn validity(cert: &str) -> Result<(OffsetDateTime, OffsetDateTime)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert.as_bytes())
        .map_err(|_| Error::Invalid("a certificate is not PEM".into()))?;
    let cert = pem
        .parse_x509()
        .map_err(|_| Error::Invalid("a certificate is not X.509".into()))?;
    let validity = cert.validity();
    Ok((
        validity.not_before.to_datetime(),
        validity.not_after.to_datetime(),
    ))
}

/// When a certificate has to be renewed: after two thirds of its life.
///
/// # Errors
/// When it is unreadable.
pub fn renew_at(cert: &str) -> Result<OffsetDateTime> {
    let (from, until) = validity(cert)?;
    Ok(from + (until - from) * 2 / 3)
}

/// The names and addresses a serving certificate is good for, as text, sorted.
///
/// # Errors
/// When it is unreadable.
pub fn names_of(cert: &str) -> Result<Vec<String>> {
    use x509_parser::extensions::GeneralName;
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert.as_bytes())
        .map_err(|_| Error::Invalid("a certificate is not PEM".into()))?;
    let cert = pem
        .parse_x509()
        .map_err(|_| Error::Invalid("a certificate is not X.509".into()))?;
    let mut names = Vec::new();
    if let Ok(Some(sans)) = cert.subject_alternative_name() {
        for name in &sans.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    names.sort();
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::IpAddr::from(sixteen).to_string())
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(Error::pki("cannot generate a key"))
}

fn parameters(common_name: &str, groups: &[&str]) -> Result<CertificateParams> {
    // rcgen keeps one value per attribute type; the second organization goes under the same
    // object identifier spelt out, which it takes for another type
    let types = [
        DnType::OrganizationName,
        DnType::CustomDnType(vec![2, 5, 4, 10]),
    ];
    if groups.len() > types.len() {
        return Err(Error::Invalid(format!(
            "a certificate carries at most {} groups, not {}",
            types.len(),
            groups.len()
        )));
    }
    let mut name = DistinguishedName::new();
    for (type_, group) in types.into_iter().zip(groups) {
        name.push(type_, *group);
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    Ok(params)
}

fn client_parameters(user: &str, groups: &[&str], valid: Duration) -> Result<CertificateParams> {
    let mut params = parameters(user, groups)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    limit(&mut params, valid);
    Ok(params)
}

fn limit(params: &mut CertificateParams, valid: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + valid;
}

fn subject_alternative(name: &str) -> Result<SanType> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let valid = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*' | b'_'));
    let dns = name.to_owned().try_into();
    match dns {
        Ok(dns) if valid => Ok(SanType::DnsName(dns)),
        _ => Err(Error::Invalid(format!(
            "{name:?} is neither an address nor a DNS name"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn with<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        read(&pem.parse_x509().unwrap())
    }

    fn verified(cert: &str, ca: &str) -> bool {
        with(cert, |cert| {
            with(ca, |ca| {
                cert.verify_signature(Some(ca.public_key())).is_ok()
            })
        })
    }

    #[test]
    fn an_authority_survives_being_kept_as_pem() {
        let first = Authority::generate("acme").unwrap();
        let again = Authority::from_pem(first.cert(), &first.key()).unwrap();
        let pair = again.client("joe", &["system:masters"], HOUR).unwrap();
        assert!(verified(&pair.cert, first.cert()));
        let other = Authority::generate("globex").unwrap();
        assert!(!verified(&pair.cert, other.cert()));
    }

    #[test]
    fn a_client_certificate_names_user_and_groups() {
        let ca = Authority::generate("acme").unwrap();
        let pair = ca.client("joe", &["a", "b"], HOUR).unwrap();
        with(&pair.cert, |cert| {
            let subject = cert.subject();
            let organizations: Vec<&str> = subject
                .iter_organization()
                .map(|o| o.as_str().unwrap())
                .collect();
            assert_eq!(organizations, ["a", "b"]);
            let name = subject.iter_common_name().next().unwrap();
            assert_eq!(name.as_str().unwrap(), "joe");
            let usage = cert.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.client_auth && !usage.server_auth && !usage.any);
            assert!(!cert.is_ca());
        });
        assert!(ca.client("joe", &["a", "b", "c"], HOUR).is_err());
    }

    #[test]
    fn of_a_request_only_the_key_counts() {
        let ca = Authority::generate("acme").unwrap();
        let request = Request::generate("system:masters").unwrap();
        let cert = ca
            .sign_request(&request.csr, "joe", &["devs"], HOUR)
            .unwrap();
        assert!(verified(&cert, ca.cert()));
        with(&cert, |cert| {
            assert_eq!(cert.subject().to_string(), "O=devs, CN=joe");
        });
        let key = KeyPair::from_pem(&request.key).unwrap();
        with(&cert, |cert| {
            assert_eq!(
                cert.public_key().subject_public_key.data.as_ref(),
                key.public_key_raw()
            );
        });
    }

    #[test]
    fn a_request_with_a_broken_signature_is_refused() {
        let ca = Authority::generate("acme").unwrap();
        let request = Request::generate("joe").unwrap();
        let (_, pem) = parse_x509_pem(request.csr.as_bytes()).unwrap();
        let mut der = pem.contents;
        let last = der.len() - 1;
        der[last] ^= 1;
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
        let broken = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert!(ca.sign_request(&broken, "joe", &[], HOUR).is_err());
        assert!(ca.sign_request("junk", "joe", &[], HOUR).is_err());
        let huge = "x".repeat(MAX_REQUEST + 1);
        assert!(ca.sign_request(&huge, "joe", &[], HOUR).is_err());
    }

    #[test]
    fn a_serving_certificate_has_its_names_and_addresses() {
        let ca = Authority::generate("acme").unwrap();
        let names = ["a.b".to_owned(), "10.0.0.1".to_owned(), "::1".to_owned()];
        let pair = ca.serving("a.b", &names, HOUR).unwrap();
        assert_eq!(names_of(&pair.cert).unwrap(), ["10.0.0.1", "::1", "a.b"]);
        assert!(ca.serving("a", &["a b".to_owned()], HOUR).is_err());
        let renew = renew_at(&pair.cert).unwrap() - OffsetDateTime::now_utc();
        assert!(renew.whole_minutes() > 30 && renew.whole_minutes() < 50);
    }
}
