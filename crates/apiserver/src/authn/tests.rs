//! Honest and hostile credentials.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use freehold_model::{json, value};
use http::Request;
use parking_lot::Mutex;
use std::collections::BTreeMap;

mod certificates;
mod impersonating;

const ISSUER: &str = "https://kubernetes.default.svc";

/// Objects by `resource/namespace/name`.
#[derive(Default)]
struct Fake(Mutex<BTreeMap<String, Value>>);

#[async_trait]
impl Objects for Fake {
    async fn get(
        &self,
        _: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        Ok(self
            .0
            .lock()
            .get(&format!("{resource}/{namespace}/{name}"))
            .cloned())
    }
}

impl Fake {
    fn put(&self, resource: &str, namespace: &str, name: &str, uid: &str, rest: Value) {
        let mut object = rest;
        object.set(&["metadata", "name"], name);
        object.set(&["metadata", "namespace"], namespace);
        object.set(&["metadata", "uid"], uid);
        self.0
            .lock()
            .insert(format!("{resource}/{namespace}/{name}"), object);
    }

    fn change(&self, key: &str, path: &[&str], value: impl Into<Value>) {
        self.0
            .lock()
            .get_mut(key)
            .expect("an object of the test")
            .set(path, value);
    }

    fn delete(&self, key: &str) {
        self.0.lock().remove(key).expect("an object of the test");
    }
}

fn key_pem() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

struct World {
    authn: Authn,
    objects: Arc<Fake>,
}

fn world() -> World {
    let objects = Arc::new(Fake::default());
    objects.put("serviceaccounts", "n", "sa", "uid-sa", Value::object());
    let issuer = TokenIssuer::new(&key_pem(), ISSUER, "https://127.0.0.1:6443").unwrap();
    let ca = certificates::ca("ca").0;
    World {
        authn: Authn::of(&ca, issuer, objects.clone()).unwrap(),
        objects,
    }
}

fn request(token: &str) -> Parts {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap().into_parts().0
}

impl World {
    async fn token(&self, spec: Value) -> String {
        let answer = self
            .authn
            .token_request("n", "sa", value!({"spec": spec}))
            .await
            .unwrap();
        answer.str_at(&["status", "token"]).unwrap().to_owned()
    }

    async fn enter(&self, token: &str) -> Result<User, u16> {
        self.authn
            .authenticate(&request(token))
            .await
            .map_err(|e| e.code)
    }

    /// Claims that would be good, for tests to spoil.
    fn claims(&self) -> Value {
        let now = unix_now();
        value!({
            "iss": ISSUER, "sub": "system:serviceaccount:n:sa", "aud": [ISSUER],
            "iat": now, "nbf": now, "exp": (now + 600),
            "kubernetes.io": {"namespace": "n", "serviceaccount": {"name": "sa", "uid": "uid-sa"}},
        })
    }

    fn signed(&self, claims: &Value) -> String {
        jwt::sign(self.authn.issuer.key(), claims).unwrap()
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json::to_vec(value))
}

#[tokio::test]
async fn a_requested_token_makes_its_account_the_user() {
    let w = world();
    let user = w.enter(&w.token(Value::object()).await).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.uid.as_str()),
        ("system:serviceaccount:n:sa", "uid-sa")
    );
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:n",
            "system:authenticated"
        ]
    );
    assert!(user.extra[0].1[0].starts_with("JTI="));
}

#[tokio::test]
async fn a_token_of_another_control_plane_is_refused() {
    let (mine, other) = (world(), world());
    let token = other.token(Value::object()).await;
    assert!(other.enter(&token).await.is_ok());
    assert_eq!(mine.enter(&token).await, Err(401));
    // Also when it lies about the key.
    let (_, rest) = token.split_once('.').unwrap();
    let header = part(&value!({"alg": "ES256", "kid": (mine.authn.issuer.key().id.as_str())}));
    assert_eq!(mine.enter(&format!("{header}.{rest}")).await, Err(401));
}

#[tokio::test]
async fn the_algorithm_is_never_the_tokens_choice() {
    let w = world();
    let key = w.authn.issuer.key();
    let claims = part(&w.claims());
    let hmac = |secret: &[u8], alg: &str| {
        let signed = format!(
            "{}.{claims}",
            part(&value!({"alg": alg, "kid": (key.id.as_str())}))
        );
        let hmac_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let tag = ring::hmac::sign(&hmac_key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let jwk = json::to_vec(&key.jwk());
    let mut tokens = vec![hmac(&jwk, "HS256"), hmac(&jwk, "ES256"), hmac(b"", "HS256")];
    for alg in ["none", "None", "NONE", "", "ES384", "RS256", "PS256"] {
        let header = part(&value!({"alg": alg}));
        tokens.push(format!("{header}.{claims}."));
        tokens.push(format!(
            "{header}.{claims}.{}",
            URL_SAFE_NO_PAD.encode([0; 64])
        ));
    }
    for header in [
        value!({}),
        value!({"alg": null}),
        value!({"alg": ["ES256"]}),
        value!([]),
        value!("ES256"),
    ] {
        tokens.push(format!("{}.{claims}.AA", part(&header)));
    }
    for token in tokens {
        assert_eq!(w.enter(&token).await, Err(401), "{token}");
    }
    assert!(w.enter(&w.signed(&w.claims())).await.is_ok());
}

#[tokio::test]
async fn headers_that_must_be_understood_are_not() {
    let w = world();
    let key = w.authn.issuer.key();
    let sign = |header: &Value| {
        let signed = format!("{}.{}", part(header), part(&w.claims()));
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap())
        )
    };
    assert!(w.enter(&sign(&value!({"alg": "ES256"}))).await.is_ok());
    assert!(
        w.enter(&sign(&value!({"alg": "ES256", "kid": ""})))
            .await
            .is_ok()
    );
    for header in [
        value!({"alg": "ES256", "crit": ["b64"], "b64": false}),
        value!({"alg": "ES256", "kid": "another"}),
        value!({"alg": "ES256", "kid": 7}),
    ] {
        assert_eq!(w.enter(&sign(&header)).await, Err(401), "{header:?}");
    }
}

#[tokio::test]
async fn malformed_tokens_are_refused() {
    let w = world();
    let good = w.token(Value::object()).await;
    let long = "a".repeat(jwt::LONGEST + 1);
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(5000));
    let twice = URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"{ISSUER}","iss":"x"}}"#));
    for token in [
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "{}",
        "\u{7f}",
        &format!("{good}.x"),
        &good[..good.len() - 4],
        &format!(".{good}"),
        &long,
        &format!("{long}.{long}.{long}"),
        &format!("{deep}.{deep}.AA"),
        &format!("AA.{twice}.AA"),
    ] {
        let mut request = Request::builder();
        request = request.header("authorization", format!("Bearer {token}"));
        let Ok(request) = request.body(()) else {
            continue;
        };
        let refused = w
            .authn
            .authenticate(&request.into_parts().0)
            .await
            .unwrap_err();
        assert_eq!(refused.code, 401, "{token:.80}");
    }
    assert!(w.enter(&good).await.is_ok());
}

#[tokio::test]
async fn times_that_are_past_future_or_no_times_are_refused() {
    let w = world();
    let now = unix_now();
    let spoil: Vec<(&str, Value)> = vec![
        ("exp", (now - 61).into()),
        ("exp", 0.into()),
        ("exp", (-1).into()),
        ("exp", i64::MIN.into()),
        ("exp", Value::Float(-1e300)),
        ("exp", "9999999999".into()),
        ("exp", Value::Null),
        ("nbf", (now + 120).into()),
        ("nbf", i64::MAX.into()),
        ("nbf", Value::Float(1e300)),
        ("iat", (now + 120).into()),
        ("iat", value!([1])),
    ];
    for (name, value) in spoil {
        let mut claims = w.claims();
        claims.set(&[name], value.clone());
        assert_eq!(
            w.enter(&w.signed(&claims)).await,
            Err(401),
            "{name}: {value:?}"
        );
    }
    let mut endless = w.claims();
    endless.unset(&["exp"]);
    assert_eq!(w.enter(&w.signed(&endless)).await, Err(401));
    let mut lenient = w.claims();
    lenient.set(&["exp"], now - 30);
    lenient.set(&["nbf"], now + 30);
    assert!(
        w.enter(&w.signed(&lenient)).await.is_ok(),
        "clocks may differ a little"
    );
}

#[tokio::test]
async fn claims_that_disagree_are_refused() {
    let w = world();
    for (path, value) in [
        (&["sub"][..], "system:serviceaccount:n:other"),
        (&["sub"], "admin"),
        (&["iss"], "https://elsewhere"),
        (&["aud"], "https://elsewhere"),
        (&["kubernetes.io", "namespace"], "m"),
        (&["kubernetes.io", "serviceaccount", "uid"], "uid-other"),
        (&["kubernetes.io", "serviceaccount", "uid"], ""),
        (&["kubernetes.io"], "x"),
    ] {
        let mut claims = w.claims();
        claims.set(path, value);
        assert_eq!(
            w.enter(&w.signed(&claims)).await,
            Err(401),
            "{path:?} {value}"
        );
    }
}

#[tokio::test]
async fn deleting_the_account_or_what_the_token_is_bound_to_revokes_it_at_once() {
    let w = world();
    w.objects.put("secrets", "n", "s", "uid-s", Value::object());
    w.objects.put(
        "pods",
        "n",
        "p",
        "uid-p",
        value!({"spec": {"serviceAccountName": "sa", "nodeName": "n1"}}),
    );
    w.objects.put("nodes", "", "n1", "uid-n1", Value::object());
    let bound = |kind: &str, name: &str| value!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}});
    let plain = w.token(Value::object()).await;
    let to_secret = w.token(bound("Secret", "s")).await;
    let to_pod = w.token(bound("Pod", "p")).await;
    let to_node = w.token(bound("Node", "n1")).await;

    let user = w.enter(&to_pod).await.unwrap();
    let extra: BTreeMap<&str, &str> = user
        .extra
        .iter()
        .map(|(k, v)| (k.as_str(), v[0].as_str()))
        .collect();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], "p");
    assert_eq!(extra["authentication.kubernetes.io/node-uid"], "uid-n1");

    w.objects.delete("nodes//n1");
    assert_eq!(w.enter(&to_node).await, Err(401));
    assert!(
        w.enter(&to_pod).await.is_ok(),
        "the node of a pod-bound token is told, not checked"
    );
    w.objects.put(
        "pods",
        "n",
        "p",
        "uid-p2",
        value!({"spec": {"serviceAccountName": "sa"}}),
    );
    assert_eq!(
        w.enter(&to_pod).await,
        Err(401),
        "another pod of the same name"
    );
    assert!(w.enter(&to_secret).await.is_ok());
    w.objects.change(
        "secrets/n/s",
        &["metadata", "deletionTimestamp"],
        "2020-01-01T00:00:00Z",
    );
    assert_eq!(w.enter(&to_secret).await, Err(401));
    assert!(w.enter(&plain).await.is_ok());
    w.objects
        .put("serviceaccounts", "n", "sa", "uid-new", Value::object());
    assert_eq!(
        w.enter(&plain).await,
        Err(401),
        "another account of the same name"
    );
    w.objects.delete("serviceaccounts/n/sa");
    assert_eq!(w.enter(&plain).await, Err(401));
}

#[tokio::test]
async fn a_token_for_another_audience_is_not_for_this_api() {
    let w = world();
    let token = w.token(value!({"audiences": ["vault"]})).await;
    assert_eq!(w.enter(&token).await, Err(401));
    let review =
        |audiences: Value| value!({"spec": {"token": (token.as_str()), "audiences": audiences}});
    let good = w
        .authn
        .token_review(review(value!(["vault", "other"])))
        .await
        .unwrap();
    assert_eq!(good.at(&["status", "authenticated"]), Some(&true.into()));
    assert_eq!(good.at(&["status", "audiences"]), Some(&value!(["vault"])));
    assert_eq!(
        good.str_at(&["status", "user", "username"]),
        Some("system:serviceaccount:n:sa")
    );
    let bad = w.authn.token_review(review(value!([]))).await.unwrap();
    assert_eq!(bad.at(&["status", "authenticated"]), None);
    assert!(
        bad.str_at(&["status", "error"])
            .unwrap()
            .contains("is invalid for the target audiences")
    );
}

#[tokio::test]
async fn token_requests_are_bounded_and_must_agree_with_what_exists() {
    let w = world();
    w.objects.put(
        "pods",
        "n",
        "foreign",
        "uid-p",
        value!({"spec": {"serviceAccountName": "other"}}),
    );
    w.objects.put("secrets", "n", "s", "uid-s", Value::object());
    let bound = |kind: &str, name: &str, uid: &str| value!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}});
    for (request, code) in [
        (value!({"spec": {"expirationSeconds": 599}}), 422),
        (value!({"spec": {"expirationSeconds": (-1)}}), 422),
        (value!({"spec": {"expirationSeconds": (1_i64 << 33)}}), 422),
        (value!({"spec": {"expirationSeconds": (i64::MAX)}}), 422),
        (value!({"spec": {"expirationSeconds": "600"}}), 400),
        (value!({"spec": {"audiences": [7]}}), 400),
        (
            value!({"spec": {"audiences": [("a".repeat(jwt::LONGEST))]}}),
            400,
        ),
        (value!({"metadata": {"name": "other"}}), 422),
        (value!({"metadata": {"uid": "other"}}), 409),
        (bound("Pod", "foreign", ""), 400),
        (bound("Pod", "missing", ""), 404),
        (bound("Secret", "s", "uid-other"), 409),
        (bound("ConfigMap", "s", ""), 400),
    ] {
        let refused = w
            .authn
            .token_request("n", "sa", request.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.code, code, "{request:?}: {refused}");
    }
    assert_eq!(
        w.authn
            .token_request("n", "nobody", Value::object())
            .await
            .unwrap_err()
            .code,
        404
    );
    let token = w
        .authn
        .token_request("n", "sa", value!({"spec": {"expirationSeconds": 600}}))
        .await
        .unwrap();
    assert_eq!(token.at(&["spec", "audiences"]), Some(&value!([ISSUER])));
    let ends = unix_of(token.str_at(&["status", "expirationTimestamp"]).unwrap()).unwrap();
    assert!((595..=605).contains(&(ends - unix_now())));
}

#[tokio::test]
async fn a_token_in_a_secret_is_good_while_the_secret_holds_it() {
    let w = world();
    let token = w
        .authn
        .issuer()
        .for_secret("n", "sa", "uid-sa", "s")
        .unwrap();
    assert_eq!(w.enter(&token).await, Err(401), "no such secret");
    let held = value!({"data": {"token": (STANDARD.encode(&token))}});
    w.objects.put("secrets", "n", "s", "uid-s", held.clone());
    assert_eq!(
        w.enter(&token).await.unwrap().name,
        "system:serviceaccount:n:sa"
    );
    w.objects.change(
        "secrets/n/s",
        &["data", "token"],
        STANDARD.encode("another"),
    );
    assert_eq!(w.enter(&token).await, Err(401));
    w.objects.put("secrets", "n", "s", "uid-s", held);
    w.objects.change(
        "secrets/n/s",
        &[
            "metadata",
            "labels",
            "kubernetes.io/legacy-token-invalid-since",
        ],
        "2026-01-01",
    );
    assert_eq!(w.enter(&token).await, Err(401));
}

#[tokio::test]
async fn bootstrap_tokens_follow_their_secret() {
    let w = world();
    let put = |field: &str, value: &str| {
        let mut data: BTreeMap<&str, &str> = BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            (
                "auth-extra-groups",
                "system:bootstrappers:a,system:bootstrappers:b",
            ),
        ]);
        data.insert(field, value);
        let data: freehold_model::Map = data
            .into_iter()
            .map(|(k, v)| (k, STANDARD.encode(v)))
            .collect();
        let secret = value!({"type": "bootstrap.kubernetes.io/token", "data": data});
        w.objects.put(
            "secrets",
            "kube-system",
            "bootstrap-token-abcdef",
            "u",
            secret,
        );
    };
    let token = "abcdef.0123456789abcdef";
    assert_eq!(w.enter(token).await, Err(401));
    put("expiration", "2999-01-01T00:00:00Z");
    let user = w.enter(token).await.unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(
        user.groups,
        [
            "system:bootstrappers",
            "system:bootstrappers:a",
            "system:bootstrappers:b",
            "system:authenticated"
        ]
    );
    for wrong in [
        "abcdef.0123456789abcdeg",
        "abcdef.",
        "abcdef.0123456789ABCDEF",
        "abcdeg.0123456789abcdef",
    ] {
        assert_eq!(w.enter(wrong).await, Err(401), "{wrong}");
    }
    for (field, value) in [
        ("expiration", "2000-01-01T00:00:00Z"),
        ("expiration", "soon"),
        ("usage-bootstrap-authentication", "false"),
        ("token-id", "abcdeg"),
        ("auth-extra-groups", "system:masters"),
        (
            "auth-extra-groups",
            "system:bootstrappers:a,system:bootstrappers:",
        ),
    ] {
        put(field, value);
        assert_eq!(w.enter(token).await, Err(401), "{field}={value}");
    }
    put("expiration", "");
    assert!(w.enter(token).await.is_ok());
    w.objects.change(
        "secrets/kube-system/bootstrap-token-abcdef",
        &["type"],
        "Opaque",
    );
    assert_eq!(w.enter(token).await, Err(401));
}

#[tokio::test]
async fn without_a_credential_a_request_is_anonymous_and_with_a_bad_one_it_is_not() {
    let w = world();
    let with = |value: Option<&str>| {
        let mut request = Request::builder();
        if let Some(value) = value {
            request = request.header("authorization", value);
        }
        request.body(()).unwrap().into_parts().0
    };
    for header in [
        None,
        Some("Basic YTpi"),
        Some("Bearer"),
        Some("Bearer "),
        Some(""),
    ] {
        let user = w.authn.authenticate(&with(header)).await.unwrap();
        assert_eq!(user.name, "system:anonymous", "{header:?}");
        assert_eq!(user.groups, ["system:unauthenticated"]);
    }
    for header in ["Bearer x", "bearer x", "BEARER x y"] {
        assert_eq!(
            w.authn
                .authenticate(&with(Some(header)))
                .await
                .unwrap_err()
                .code,
            401,
            "{header}"
        );
    }
}

#[tokio::test]
async fn the_published_key_verifies_what_is_issued() {
    let w = world();
    let keys = json::parse(&w.authn.issuer().key_set()).unwrap().value;
    let jwk = &keys.get("keys").and_then(Value::as_array).unwrap()[0];
    let decode = |name| {
        URL_SAFE_NO_PAD
            .decode(jwk.str_at(&[name]).unwrap())
            .unwrap()
    };
    let point = [vec![4], decode("x"), decode("y")].concat();
    let token = w.token(Value::object()).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header = json::parse(
        &URL_SAFE_NO_PAD
            .decode(signed.split('.').next().unwrap())
            .unwrap(),
    )
    .unwrap()
    .value;
    assert_eq!(header.str_at(&["kid"]), jwk.str_at(&["kid"]));
    let public =
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    public
        .verify(
            signed.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .unwrap();
    let document = json::parse(&w.authn.issuer().openid_configuration())
        .unwrap()
        .value;
    assert_eq!(document.str_at(&["issuer"]), Some(ISSUER));
    assert_eq!(
        document.str_at(&["jwks_uri"]),
        Some("https://127.0.0.1:6443/openid/v1/jwks")
    );
}

#[test]
fn keys_that_are_no_keys_are_refused_without_being_shown() {
    for pem in [
        "",
        "x",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let refused = TokenIssuer::new(pem, ISSUER, "").err().unwrap();
        assert!(
            refused.contains("service-account key") && !refused.contains("AAAA"),
            "{refused}"
        );
    }
}
