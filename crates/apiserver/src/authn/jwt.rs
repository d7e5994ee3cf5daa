//! Compact JSON Web Tokens of one key: nothing of a token is believed before its signature is.

use super::Refusal;
use super::keys::Key;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_model::{Value, json, value};

/// Longer ones are not ours: the issuer refuses to make them.
pub(super) const LONGEST: usize = 16 * 1024;

/// Clocks may differ by this much (go-jose `DefaultLeeway`).
pub(super) const LEEWAY: i64 = 60;

/// A token taken apart, not yet verified.
struct Parsed<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

fn parse(token: &str) -> Option<Parsed<'_>> {
    if token.len() > LONGEST {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if claims.contains('.') {
        return None;
    }
    let object = |part: &str| {
        let decoded = json::parse(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        // Two readers of a duplicate key may see two tokens.
        (decoded.duplicates.is_empty() && decoded.value.as_object().is_some())
            .then_some(decoded.value)
    };
    Some(Parsed {
        header: object(header)?,
        claims: object(claims)?,
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

/// The claims of a token that this key signed and one of `issuers` made.
pub(super) fn verify(key: &Key, issuers: &[&str], token: &str) -> Result<Value, Refusal> {
    let Some(parsed) = parse(token) else {
        return Err(Refusal::Unknown);
    };
    if !parsed
        .claims
        .str_at(&["iss"])
        .is_some_and(|iss| issuers.contains(&iss))
    {
        return Err(Refusal::Unknown);
    }
    let invalid = |why: &str| Err(Refusal::Invalid(why.to_owned()));
    let header = |name| parsed.header.get(name);
    match header("kid") {
        None => {}
        Some(kid) if kid.as_str() == Some("") || kid.as_str() == Some(&key.id) => {}
        Some(_) => return invalid("invalid signature, no keys found"),
    }
    // The header's algorithm is compared, never followed: `none` and HMAC with the public key
    // fail here. Extensions that must be understood are not.
    if header("alg").and_then(Value::as_str) != Some(key.alg) || header("crit").is_some() {
        return invalid("go-jose/go-jose: error in cryptographic primitive");
    }
    if !key.verify(parsed.signed.as_bytes(), &parsed.signature) {
        return invalid("go-jose/go-jose: error in cryptographic primitive");
    }
    Ok(parsed.claims)
}

/// Signs claims; `None` when the token would be too long or the key fails.
pub(super) fn sign(key: &Key, claims: &Value) -> Option<String> {
    let header = json::to_vec(&value!({"alg": (key.alg), "kid": (key.id.as_str())}));
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(json::to_vec(claims), &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    (token.len() <= LONGEST).then_some(token)
}

/// Checks `exp`, `nbf` and `iat` with a leeway; what is no number of seconds is not accepted.
pub(super) fn check_times(claims: &Value, now: i64) -> Result<(), Refusal> {
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::Int(n)) => Ok(Some(*n)),
        // Numeric dates may have fractions; a cast of a float saturates.
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole seconds are enough, and out of range saturates"
        )]
        Some(Value::Float(n)) if n.is_finite() => Ok(Some(*n as i64)),
        Some(_) => Err(Refusal::Invalid(format!(
            "service account token claim {name:?} is not a number"
        ))),
    };
    let invalid = |why: &str| Err(Refusal::Invalid(why.to_owned()));
    if seconds("nbf")?.is_some_and(|nbf| now.saturating_add(LEEWAY) < nbf) {
        return invalid("service account token is not valid yet");
    }
    if seconds("exp")?.is_some_and(|exp| now.saturating_sub(LEEWAY) > exp) {
        return invalid("service account token has expired");
    }
    if seconds("iat")?.is_some_and(|iat| now.saturating_add(LEEWAY) < iat) {
        return invalid("service account token is issued in the future");
    }
    Ok(())
}
