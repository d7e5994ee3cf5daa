//! Client certificates, of this control plane and not.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls_pki_types::CertificateDer;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// The PEM of a new CA, and the CA.
pub(super) fn ca(name: &str) -> (String, Ca) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    (ca.pem(), ca)
}

fn params(names: &[&str], groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    for group in groups {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn sign(ca: &Ca, params: &CertificateParams) -> CertificateDer<'static> {
    params
        .signed_by(&KeyPair::generate().unwrap(), ca)
        .unwrap()
        .der()
        .clone()
}

fn authn(ca_pem: &str) -> Authn {
    let issuer = TokenIssuer::new(&key_pem(), ISSUER, "").unwrap();
    Authn::of(ca_pem, issuer, Arc::new(Fake::default())).unwrap()
}

async fn enter(authn: &Authn, chain: Vec<CertificateDer<'static>>) -> Result<User, u16> {
    let mut request = Request::new(());
    request
        .extensions_mut()
        .insert(PeerCertificates(Arc::new(chain)));
    authn
        .authenticate(&request.into_parts().0)
        .await
        .map_err(|e| e.code)
}

#[tokio::test]
async fn a_certificate_of_the_own_ca_names_user_and_group() {
    let (pem, ca) = ca("ca");
    let authn = authn(&pem);
    let leaf = sign(&ca, &params(&["ann"], &["system:masters"]));
    for _ in 0..2 {
        let user = enter(&authn, vec![leaf.clone()]).await.unwrap();
        assert_eq!(user.name, "ann");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
        assert!(user.extra[0].1[0].starts_with("X509SHA256="));
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_even_under_the_same_name() {
    let (pem, _) = ca("ca");
    let (_, other) = ca("ca");
    let leaf = sign(&other, &params(&["ann"], &["system:masters"]));
    let authn = authn(&pem);
    assert_eq!(enter(&authn, vec![leaf.clone()]).await, Err(401));
    assert_eq!(
        enter(&authn, vec![leaf, other.der().clone()]).await,
        Err(401),
        "its CA sent along"
    );
}

#[tokio::test]
async fn certificates_out_of_time_of_other_use_or_without_a_name_are_refused() {
    let (pem, ca) = ca("ca");
    let authn = authn(&pem);
    let mut past = params(&["ann"], &[]);
    past.not_after = rcgen::date_time_ymd(2020, 1, 1);
    past.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let mut future = params(&["ann"], &[]);
    future.not_before = rcgen::date_time_ymd(2999, 1, 1);
    future.not_after = rcgen::date_time_ymd(3000, 1, 1);
    let mut serving = params(&["ann"], &[]);
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for spoilt in [
        past,
        future,
        serving,
        params(&[], &["system:masters"]),
        params(&[""], &[]),
    ] {
        assert_eq!(
            enter(&authn, vec![sign(&ca, &spoilt)]).await,
            Err(401),
            "{:?}",
            spoilt.distinguished_name
        );
    }
    assert_eq!(
        enter(&authn, vec![CertificateDer::from(vec![0x30, 0x80, 1])]).await,
        Err(401)
    );
    assert!(
        enter(&authn, vec![sign(&ca, &params(&["ann"], &[]))])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_remembered_certificate_still_ends() {
    let (pem, ca) = ca("ca");
    let certificates = certificate::Certificates::new(&pem).unwrap();
    let mut soon = params(&["ann"], &[]);
    soon.not_before = rcgen::date_time_ymd(2026, 1, 1);
    soon.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let chain = [sign(&ca, &soon)];
    let at = |text| unix_of(text).unwrap();
    assert!(
        certificates
            .user(&chain, at("2026-06-01T00:00:00Z"))
            .is_some()
    );
    assert!(
        certificates
            .user(&chain, at("2027-01-02T00:00:00Z"))
            .is_none()
    );
    assert!(
        certificates
            .user(&chain, at("2025-12-31T00:00:00Z"))
            .is_none()
    );
}

#[tokio::test]
async fn a_good_token_helps_where_the_certificate_does_not() {
    let w = world();
    let (_, other) = ca("other");
    let mut parts = request(&w.token(Value::object()).await);
    parts.extensions.insert(PeerCertificates(Arc::new(vec![sign(
        &other,
        &params(&["ann"], &[]),
    )])));
    assert_eq!(
        w.authn.authenticate(&parts).await.unwrap().name,
        "system:serviceaccount:n:sa"
    );
}
