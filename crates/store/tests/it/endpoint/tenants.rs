//! Certificates name tenants: every method is denied to others, and no tenant learns anything of
//! another one.

use super::client::{Raw, said};
use super::proto::{
    DeleteRangeRequest, DeleteRangeResponse, Empty, HashResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseLeasesResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, StatusResponse,
    WatchCreate, WatchRequest, WatchUnion,
};
use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::Memory;
use freehold_store::postgres::Postgres;
use freehold_store::server::{Bounds, Endpoint, Subject, Tenants, tls_config};
use freehold_store::{Keyspaces, etcd};
use futures::StreamExt;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{Code, Status};

/// A certificate authority of a test.
pub(super) struct Ca {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Pair {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert, &self.key)
    }

    pub(super) fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.crt")), &self.cert).expect("write");
        std::fs::write(dir.join(format!("{name}.key")), &self.key).expect("write");
    }
}

impl Ca {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("ca").pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("key");
        let cert = params.signed_by(&key, &self.issuer).expect("sign").pem();
        let key = key.serialize_pem();
        Pair { cert, key }
    }

    pub(super) fn server(&self) -> Pair {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    pub(super) fn client(&self, name: &str, organizations: &[&str], uri: Option<&str>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for organization in organizations {
            let organization = (*organization).to_owned();
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = uri.map(|uri| SanType::URI(uri.try_into().expect("uri")));
        params.subject_alt_names.extend(uri);
        self.sign(params)
    }
}

pub(super) struct Shared {
    pub(super) url: String,
    pub(super) server_ca: Ca,
    pub(super) client_ca: Ca,
    keyspaces: Arc<dyn Keyspaces>,
    /// each keyspace has revisions of its own
    pub(super) own_revisions: bool,
    engine: Option<Arc<Embedded>>,
    task: tokio::task::JoinHandle<()>,
    _dir: Option<tempfile::TempDir>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(engine) = &self.engine {
            engine.close();
        }
    }
}

impl Shared {
    /// `cn:acme` and `uri:spiffe://test/acme` are acme, `o:globex` is globex.
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), Options::default()).await;
        let engine = engine.expect("open");
        let mut shared = Self::over(engine.clone(), true).await;
        shared.engine = Some(engine);
        shared._dir = Some(dir);
        shared
    }

    pub(super) async fn over_postgres(real: &RealPostgres) -> Self {
        let keyspaces = Postgres::connect(real.options()).await;
        Self::over(keyspaces.expect("connect"), true).await
    }

    pub(super) async fn over_etcd(real: &RealEtcd) -> Self {
        let options = etcd::Options::new(vec![real.url.clone()], "/both");
        let keyspaces = etcd::Etcd::connect(options).await;
        Self::over(keyspaces.expect("connect"), false).await
    }

    /// The same with bounds of a test's own.
    pub(super) async fn within(bounds: Bounds) -> Self {
        Self::bounded(Memory::new(), true, bounds).await
    }

    /// The same over another driver.
    async fn over(keyspaces: Arc<dyn Keyspaces>, own_revisions: bool) -> Self {
        Self::bounded(keyspaces, own_revisions, Bounds::default()).await
    }

    async fn bounded(keyspaces: Arc<dyn Keyspaces>, own_revisions: bool, bounds: Bounds) -> Self {
        let (server_ca, client_ca) = (Ca::new(), Ca::new());
        let server = server_ca.server();
        let config = tls_config(
            server.cert.as_bytes(),
            server.key.as_bytes(),
            client_ca.pem.as_bytes(),
        );
        let config = config.expect("config");
        let rules = [
            ("cn:acme", "acme"),
            ("uri:spiffe://test/acme", "acme"),
            ("o:globex", "globex"),
        ];
        let rules: BTreeMap<Subject, String> = rules
            .into_iter()
            .map(|(subject, id)| (subject.parse().expect("subject"), id.to_owned()))
            .collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("bind");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let endpoint =
            Endpoint::by_certificate(config, Arc::new(Tenants::new(keyspaces.clone(), rules)))
                .bounds(bounds);
        let task = tokio::spawn(async move {
            let served = endpoint.serve(listener, std::future::pending());
            served.await.expect("listener");
        });
        Self {
            url,
            server_ca,
            client_ca,
            keyspaces,
            own_revisions,
            engine: None,
            task,
            _dir: None,
        }
    }

    /// A connection of a client of that name, of which only the handshake is done.
    pub(super) async fn shake(&self, stream: TcpStream, name: &str) -> TlsStream<TcpStream> {
        let pair = self.client_ca.client(name, &[], None);
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.server_ca.pem.as_bytes());
        roots.add(ca.expect("a certificate")).expect("a root");
        let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![cert.expect("a certificate")], key.expect("a key"))
            .expect("a pair");
        let name = "127.0.0.1".try_into().expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.expect("a handshake")
    }

    fn client(&self, pair: Option<&Pair>) -> Raw {
        let ca = Certificate::from_pem(&self.server_ca.pem);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca);
        if let Some(pair) = pair {
            tls = tls.identity(pair.identity());
        }
        Raw::connect_tls(&self.url, tls)
    }

    pub(super) fn named(&self, name: &str, organizations: &[&str], uri: Option<&str>) -> Raw {
        self.client(Some(&self.client_ca.client(name, organizations, uri)))
    }
}

/// Every method there is.
const METHODS: &[&str] = &[
    "KV/Range",
    "KV/RangeStream",
    "KV/Put",
    "KV/DeleteRange",
    "KV/Txn",
    "KV/Compact",
    "Watch/Watch",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
    "Lease/LeaseKeepAlive",
    "Lease/LeaseTimeToLive",
    "Lease/LeaseLeases",
    "Maintenance/Status",
    "Maintenance/Alarm",
    "Maintenance/Defragment",
    "Maintenance/Hash",
    "Maintenance/HashKV",
    "Maintenance/Snapshot",
    "Maintenance/MoveLeader",
    "Maintenance/Downgrade",
    "Cluster/MemberList",
    "Cluster/MemberAdd",
    "Auth/AuthStatus",
    "Auth/Authenticate",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_is_denied_to_a_certificate_that_names_nobody() {
    let shared = Shared::start().await;
    let before = shared.keyspaces.list().await.expect("list");
    for (client, why) in [
        (
            shared.named("stranger", &["others"], None),
            "no tenant is known for cn:stranger, o:others",
        ),
        // Names are compared whole, and each with its own kind.
        (shared.named("acme2", &[], None), "no tenant is known"),
        (
            shared.named("globex", &["acme"], None),
            "no tenant is known",
        ),
        (
            shared.named("acme", &["globex"], None),
            "is of more than one tenant",
        ),
    ] {
        for method in METHODS {
            let answer: Result<Empty, Status> = client.call(method, Empty {}).await;
            let refused = answer.expect_err(method);
            assert_eq!(refused.code(), Code::PermissionDenied, "{method}");
            assert!(refused.message().contains(why), "{method}: {refused:?}");
        }
    }
    assert_eq!(shared.keyspaces.list().await.expect("list"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_certificate_of_the_right_ca_is_refused() {
    let shared = Shared::start().await;
    let foreign = Ca::new().client("acme", &[], None);
    for client in [shared.client(None), shared.client(Some(&foreign))] {
        let answer: Result<StatusResponse, Status> =
            client.call("Maintenance/Status", Empty {}).await;
        let refused = answer.expect_err("refused");
        assert!(
            !matches!(refused.code(), Code::PermissionDenied | Code::Ok),
            "{}",
            said(&refused)
        );
    }
    assert_eq!(shared.keyspaces.list().await.expect("list"), [""; 0]);
    let acme = shared.named("acme", &[], None);
    let status: StatusResponse = acme
        .call("Maintenance/Status", Empty {})
        .await
        .expect("the right one is served");
    assert_eq!(status.version, "3.6.8");
}

fn everything() -> RangeRequest {
    RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    }
}

/// All that a tenant can find out about its keyspace without writing; in an etcd all but its
/// revision and size, which are one for all.
async fn known(shared: &Shared, client: &Raw, lease: i64) -> String {
    let all: RangeResponse = client.call("KV/Range", everything()).await.expect("range");
    let parts: Vec<RangeStreamResponse> = client
        .stream("KV/RangeStream", everything())
        .await
        .expect("stream");
    let status: StatusResponse = client
        .call("Maintenance/Status", Empty {})
        .await
        .expect("status");
    let hash: HashResponse = client
        .call("Maintenance/HashKV", Empty {})
        .await
        .expect("hash");
    let leases: LeaseLeasesResponse = client
        .call("Lease/LeaseLeases", Empty {})
        .await
        .expect("leases");
    let ttl = LeaseTimeToLiveRequest {
        id: lease,
        keys: true,
    };
    let ttl: LeaseTimeToLiveResponse = client
        .call("Lease/LeaseTimeToLive", ttl)
        .await
        .expect("ttl");
    if !shared.own_revisions {
        let parts = parts.iter().filter_map(|part| part.range_response.as_ref());
        let streamed: Vec<_> = parts.map(|part| &part.kvs).collect();
        let keys = (all.kvs, all.count, streamed);
        return format!("{keys:?} {:?} {} {:?}", leases.leases, ttl.ttl, ttl.keys);
    }
    let future = RangeRequest {
        revision: 5,
        ..everything()
    };
    let future: Result<RangeResponse, Status> = client.call("KV/Range", future).await;
    let future = future.map_err(|status| status.message().to_owned());
    format!("{all:?} {parts:?} {status:?} {hash:?} {leases:?} {ttl:?} {future:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_never_see_each_other() {
    see_nothing_of_each_other(Shared::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_of_a_postgres_never_see_each_other() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    see_nothing_of_each_other(Shared::over_postgres(&postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_of_an_etcd_never_see_each_other() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    see_nothing_of_each_other(Shared::over_etcd(&real).await).await;
}

async fn see_nothing_of_each_other(shared: Shared) {
    let acme = shared.named("acme", &[], None);
    let globex = shared.named("someone", &["globex"], None);
    let grant = LeaseGrantRequest { ttl: 600, id: 99 };
    let watch = WatchRequest {
        union: Some(WatchUnion::Create(WatchCreate {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: 1,
            ..Default::default()
        })),
    };
    let before = known(&shared, &globex, 99).await;
    let mut quiet = globex.watch(watch).await.expect("watch");
    assert!(quiet.next().await.expect("created").created);
    let granted: LeaseGrantResponse = acme.call("Lease/LeaseGrant", grant).await.expect("grant");
    for n in 0..20 {
        let put = PutRequest {
            key: format!("secret{n}").into(),
            value: "v".repeat(1000).into(),
            lease: granted.id,
            ..Default::default()
        };
        let _: PutResponse = acme.call("KV/Put", put).await.expect("put");
    }
    assert_eq!(known(&shared, &globex, 99).await, before);
    // The other one's lease, by its number: neither attached to, nor kept alive, nor ended.
    let put = PutRequest {
        key: "mine".into(),
        lease: 99,
        ..Default::default()
    };
    let refused: Result<PutResponse, Status> = globex.call("KV/Put", put).await;
    assert_eq!(
        refused.expect_err("not its lease").message(),
        "etcdserver: requested lease not found"
    );
    let id = super::proto::LeaseRevokeRequest { id: 99 };
    let refused: Result<Empty, Status> = globex.call("Lease/LeaseRevoke", id).await;
    assert_eq!(refused.expect_err("not its lease").code(), Code::NotFound);
    let alive = super::proto::LeaseKeepAliveRequest { id: 99 };
    let mut alive = globex
        .both::<_, super::proto::LeaseKeepAliveResponse>(
            "Lease/LeaseKeepAlive",
            futures::stream::iter([alive]).chain(futures::stream::pending()),
        )
        .await
        .expect("keep alive");
    let answer = alive.message().await.expect("answer").expect("answer");
    assert_eq!(answer.ttl, 0);
    let all = DeleteRangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    };
    let gone: DeleteRangeResponse = globex.call("KV/DeleteRange", all).await.expect("delete");
    assert_eq!(gone.deleted, 0);
    assert_eq!(known(&shared, &globex, 99).await, before);
    // The first thing that its watch hears is its own.
    let put = PutRequest {
        key: "own".into(),
        ..Default::default()
    };
    let own: PutResponse = globex.call("KV/Put", put).await.expect("put");
    if shared.own_revisions {
        assert_eq!(own.header.expect("header").revision, 2);
    }
    let heard = quiet.next().await.expect("event");
    assert_eq!(heard.events.len(), 1);
    assert_eq!(heard.events[0].kv.as_ref().expect("kv").key, "own");
    // By its other name, acme finds its keys again.
    let again = shared.named("x", &[], Some("spiffe://test/acme"));
    let found: RangeResponse = again.call("KV/Range", everything()).await.expect("range");
    assert_eq!(found.count, 20);
}
