//! The key pair that signs a control plane's service-account tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_model::{Value, value};
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

enum Pair {
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// The algorithm follows from the key, never from a token's header.
pub(super) struct Key {
    pair: Pair,
    /// `ES256`, `ES384` or `RS256`
    pub(super) alg: &'static str,
    verification: &'static dyn VerificationAlgorithm,
    /// SHA-256 of the public key's SubjectPublicKeyInfo, as upstream derives it
    pub(super) id: String,
}

impl Key {
    /// Reads a PKCS#8 key (ECDSA P-256 or P-384, RSA) or a PKCS#1 RSA key.
    pub(super) fn from_pem(pem: &str) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "the service-account key is not a PEM private key".to_owned())?;
        let rng = SystemRandom::new();
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ecdsa = |alg| {
                    EcdsaKeyPair::from_pkcs8(alg, der, &rng)
                        .ok()
                        .map(|k| Pair::Ecdsa(Box::new(k)))
                };
                let rsa = || {
                    RsaKeyPair::from_pkcs8(der)
                        .ok()
                        .map(|k| Pair::Rsa(Box::new(k)))
                };
                if let Some(pair) = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING) {
                    Some((
                        pair,
                        "ES256",
                        &ECDSA_P256_SHA256_FIXED as &dyn VerificationAlgorithm,
                    ))
                } else if let Some(pair) = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING) {
                    Some((
                        pair,
                        "ES384",
                        &ECDSA_P384_SHA384_FIXED as &dyn VerificationAlgorithm,
                    ))
                } else {
                    rsa().map(|pair| {
                        (
                            pair,
                            "RS256",
                            &RSA_PKCS1_2048_8192_SHA256 as &dyn VerificationAlgorithm,
                        )
                    })
                }
            }
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(|k| {
                    let alg = &RSA_PKCS1_2048_8192_SHA256 as &dyn VerificationAlgorithm;
                    (Pair::Rsa(Box::new(k)), "RS256", alg)
                })
            }
            _ => None,
        };
        let (pair, alg, verification) = key.ok_or(
            "the service-account key must be a PKCS#8 ECDSA P-256, ECDSA P-384 or RSA key, or a PKCS#1 RSA key",
        )?;
        let mut key = Self {
            pair,
            alg,
            verification,
            id: String::new(),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.public_key_info());
        key.id = URL_SAFE_NO_PAD.encode(digest.as_ref());
        Ok(key)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&rng, message).ok().map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &rng, message, &mut out)
                    .ok()?;
                Some(out)
            }
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.verification, self.public())
            .verify(message, signature)
            .is_ok()
    }

    /// An uncompressed point, or a PKCS#1 RSAPublicKey.
    fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// DER of the SubjectPublicKeyInfo.
    fn public_key_info(&self) -> Vec<u8> {
        let algorithm: &[u8] = match self.alg {
            // ecPublicKey, prime256v1
            "ES256" => b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
            // ecPublicKey, secp384r1
            "ES384" => b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
            // rsaEncryption, NULL
            _ => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
        };
        let bits = [&[0], self.public()].concat();
        der(0x30, &[algorithm, &der(0x03, &bits)].concat())
    }

    /// The public key as a JSON Web Key.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = value!({"use": "sig", "kid": (self.id.as_str()), "alg": (self.alg)});
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                jwk.set(&["kty"], "EC");
                jwk.set(
                    &["crv"],
                    if self.alg == "ES256" {
                        "P-256"
                    } else {
                        "P-384"
                    },
                );
                jwk.set(&["x"], encode(x));
                jwk.set(&["y"], encode(y));
            }
            Pair::Rsa(pair) => {
                let parts = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                jwk.set(&["kty"], "RSA");
                jwk.set(&["n"], encode(&parts.n));
                jwk.set(&["e"], encode(&parts.e));
            }
        }
        jwk
    }
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = content.len().to_be_bytes();
    let len = &len[len.iter().take_while(|b| **b == 0).count()..];
    match len {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}
