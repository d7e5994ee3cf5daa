//! Logging in, and a user and a role for each keyspace where the etcd has authentication.

use super::client::{Client, plain};
use crate::proto::{AuthStatusResponse, Empty, HeaderResponse, ResponseHeader};
use crate::{Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use ring::hmac;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Status};

/// Whom a client is to the etcd.
pub(super) struct Login {
    pub(super) user: String,
    password: String,
    token: Mutex<Token>,
}

#[derive(Clone, Default)]
enum Token {
    #[default]
    Missing,
    Held(MetadataValue<Ascii>),
    /// the etcd has no authentication
    Needless,
}

#[derive(Clone, PartialEq, Message)]
struct Authenticate {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct Authenticated {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(string, tag = "2")]
    token: String,
}

/// Adds a user or gives it another password, grants a role to a user, removes either.
#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, Message)]
struct Grant {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(message, optional, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Message)]
struct Permission {
    /// 2: read and write
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    range_end: Bytes,
}

impl Login {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            token: Mutex::default(),
        }
    }

    /// What to show with a request, if anything; asks for it when there is none.
    pub(super) async fn token(
        &self,
        client: &Client,
    ) -> Result<Option<MetadataValue<Ascii>>, Status> {
        let known = self.token.lock().clone();
        match known {
            Token::Held(token) => return Ok(Some(token)),
            Token::Needless => return Ok(None),
            Token::Missing => {}
        }
        let request = Authenticate {
            name: self.user.clone(),
            password: self.password.clone(),
        };
        let path = "/etcdserverpb.Auth/Authenticate";
        let got = match client.bare::<_, Authenticated>(path, request, None).await {
            Err(status) if status.message().contains("authentication is not enabled") => {
                *self.token.lock() = Token::Needless;
                return Ok(None);
            }
            other => other?,
        };
        let token = MetadataValue::try_from(got.token)
            .map_err(|_| Status::unavailable("etcd gave a token that is no text"))?;
        *self.token.lock() = Token::Held(token.clone());
        Ok(Some(token))
    }

    /// Whether the token is to blame; then it is forgotten.
    pub(super) fn outlived(&self, status: &Status) -> bool {
        let text = status.message();
        let old = status.code() == Code::Unauthenticated
            || text == "etcdserver: revision of auth store is old"
            || text == "etcdserver: user name is empty";
        if old {
            *self.token.lock() = Token::Missing;
        }
        old
    }
}

/// The name and the password of a keyspace's user: nobody has to keep it, who has the
/// administrator's secret finds it again.
fn credentials(secret: &[u8], prefix: &str, id: &str) -> (String, String) {
    let name = format!("{}-{id}", prefix.trim_matches('/').replace('/', "-"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("freehold keyspace {prefix} {id}").as_bytes());
    let password = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (name, password)
}

async fn administer(admin: &Client, method: &'static str, first: &str, second: &str) -> Result<()> {
    let request = Names {
        first: first.to_owned(),
        second: second.to_owned(),
    };
    let done: Result<HeaderResponse, _> = admin.read(method, request).await;
    settled(done.map_err(plain))
}

/// Done before is as good as done.
fn settled(done: Result<HeaderResponse>) -> Result<()> {
    match done {
        Err(Error::Invalid(text))
            if text.contains("already exists")
                || text.contains("not found")
                || text.contains("already granted") =>
        {
            Ok(())
        }
        Err(Error::Unavailable(text)) if text.contains("permission denied") => {
            Err(Error::Unavailable(
                "the datastore's user may not make users and roles in etcd: give it the role root"
                    .into(),
            ))
        }
        other => other.map(|_| ()),
    }
}

/// Whether the etcd asks who somebody is.
async fn enabled(admin: &Client) -> Result<bool> {
    let status = admin.read("/etcdserverpb.Auth/AuthStatus", Empty {}).await;
    let status: Result<AuthStatusResponse> = status.map_err(plain);
    match status {
        Ok(status) => Ok(status.enabled),
        // It asks, and does not tell this user.
        Err(Error::Unavailable(text)) if text.contains("permission denied") => Ok(true),
        Err(error) => Err(error),
    }
}

/// A client that sees only these ranges; the administrator's own where the etcd asks nobody.
pub(super) async fn client_for(
    admin: &Client,
    secret: Option<&[u8]>,
    prefix: &str,
    id: &str,
    ranges: [(Bytes, Bytes); 2],
) -> Result<Client> {
    let Some(secret) = secret else {
        return Ok(admin.clone());
    };
    if !enabled(admin).await? {
        return Ok(admin.clone());
    }
    let (name, password) = credentials(secret, prefix, id);
    let client = admin.as_user(&name, &password);
    if client.log_in().await.is_ok() {
        return Ok(client);
    }
    administer(admin, "/etcdserverpb.Auth/RoleAdd", &name, "").await?;
    for (key, range_end) in ranges {
        let permission = Permission {
            kind: 2,
            key,
            range_end,
        };
        let request = Grant {
            role: name.clone(),
            permission: Some(permission),
        };
        let path = "/etcdserverpb.Auth/RoleGrantPermission";
        let done: Result<HeaderResponse, _> = admin.read(path, request).await;
        settled(done.map_err(plain))?;
    }
    administer(admin, "/etcdserverpb.Auth/UserAdd", &name, &password).await?;
    // It may have been there with another password.
    administer(
        admin,
        "/etcdserverpb.Auth/UserChangePassword",
        &name,
        &password,
    )
    .await?;
    administer(admin, "/etcdserverpb.Auth/UserGrantRole", &name, &name).await?;
    client.log_in().await?;
    Ok(client)
}

/// Removes the user and the role of a keyspace.
pub(super) async fn remove(
    admin: &Client,
    secret: Option<&[u8]>,
    prefix: &str,
    id: &str,
) -> Result<()> {
    let Some(secret) = secret else {
        return Ok(());
    };
    if !enabled(admin).await? {
        return Ok(());
    }
    let (name, _) = credentials(secret, prefix, id);
    administer(admin, "/etcdserverpb.Auth/UserDelete", &name, "").await?;
    administer(admin, "/etcdserverpb.Auth/RoleDelete", &name, "").await
}
