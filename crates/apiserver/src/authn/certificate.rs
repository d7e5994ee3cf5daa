//! Client certificates: common name is the user, organizations are the groups
//! (apiserver pkg/authentication/request/x509/x509.go).

use super::CREDENTIAL_ID;
use freehold_policy::User;
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

/// Certificates remembered, by digest of the leaf.
const REMEMBERED: usize = 64;
/// `asn1util.X509UID`
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// Accepts chains that lead to one of a control plane's client CAs.
pub(super) struct Certificates {
    verifier: Arc<dyn ClientCertVerifier>,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

#[derive(Clone)]
struct Known {
    user: User,
    not_before: i64,
    not_after: i64,
}

impl Certificates {
    pub(super) fn new(ca_pem: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            let certificate = certificate.map_err(|_| "the client CA is not PEM".to_owned())?;
            roots
                .add(certificate)
                .map_err(|e| format!("the client CA is not a CA certificate: {e}"))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider().clone())
                .build()
                .map_err(|e| format!("the client CA is not usable: {e}"))?;
        Ok(Self {
            verifier,
            known: Mutex::default(),
        })
    }

    /// The user a chain (leaf first) vouches for; `None` when it is not of this control plane,
    /// not for clients, not valid now, or names nobody.
    pub(super) fn user(&self, chain: &[CertificateDer<'static>], now: i64) -> Option<User> {
        let (leaf, intermediates) = chain.split_first()?;
        let mut id = [0; 32];
        id.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, leaf).as_ref());
        let known = self.known.lock().get(&id).cloned();
        // The chain was verified when first seen; its end is looked at every time.
        if let Some(known) = known
            && (known.not_before..=known.not_after).contains(&now)
        {
            return Some(known.user);
        }
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
        self.verifier
            .verify_client_cert(leaf, intermediates, at)
            .ok()?;
        let mut known = read(leaf, &id)?;
        for certificate in intermediates {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            known.not_after = known
                .not_after
                .min(certificate.validity().not_after.timestamp());
        }
        let user = known.user.clone();
        let mut all = self.known.lock();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(id, known);
        Some(user)
    }
}

fn read(leaf: &CertificateDer<'_>, id: &[u8; 32]) -> Option<Known> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let subject = certificate.subject();
    let text = |a: &AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    // Go keeps the last of several common names.
    let name = subject.iter_common_name().last().and_then(text)?;
    let groups: Option<Vec<String>> = subject.iter_organization().map(text).collect();
    let uids: Vec<_> = subject
        .iter_attributes()
        .filter(|a| a.attr_type().to_id_string() == UID_OID)
        .collect();
    let uid = match uids[..] {
        [] => String::new(),
        [one] => text(one).filter(|uid| !uid.is_empty())?,
        _ => return None,
    };
    if name.is_empty() {
        return None;
    }
    let mut credential = "X509SHA256=".to_owned();
    for byte in id {
        let _ = write!(credential, "{byte:02x}");
    }
    let user = User {
        name,
        uid,
        groups: groups?,
        extra: vec![(CREDENTIAL_ID.to_owned(), vec![credential])],
    };
    let validity = certificate.validity();
    Some(Known {
        user,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// For a listener: asks for a client certificate and checks that the client holds its key,
/// nothing more. Whose certificate it is, is decided per request by the control plane, so that a
/// foreign one gets an answer (401) and not a broken connection, as upstream does.
#[derive(Debug)]
pub(crate) struct AnyClientCertificate {
    hints: Vec<DistinguishedName>,
}

impl AnyClientCertificate {
    /// `ca_pem`: the CAs to name to the client, so that it can choose among its certificates.
    #[must_use]
    pub(crate) fn new(ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            CertificateDer::pem_slice_iter(ca_pem.as_bytes()).filter_map(Result::ok),
        );
        Self {
            hints: roots.subjects(),
        }
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
