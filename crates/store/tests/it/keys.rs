//! What data keys are sealed with: key files and KMS v2 plugins, and how one takes the place of
//! another.

use crate::kms_plugin::Plugin;
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::support::{put, put_if, until, value};
use freehold_store::embedded::{Embedded, Options, Wrapping};
use freehold_store::{Error, Keyspaces};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn open(dir: &Path) -> Arc<Embedded> {
    Embedded::open(dir, Options::default()).await.expect("open")
}

/// Three keyspaces with a key each; one of them has a checkpoint and sleeps.
async fn fill(engine: &Embedded) {
    for name in ["one", "two", "three"] {
        let store = engine.open(name).await.expect("keyspace");
        put(&*store, "k", name).await;
    }
    engine.sleep("two").await.expect("sleep");
}

async fn check(engine: &Embedded) {
    for name in ["one", "two", "three"] {
        let store = engine.open(name).await.expect("keyspace");
        assert_eq!(value(&*store, "k").await.as_deref(), Some(name));
    }
}

fn key_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("dir");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let name = |path: &PathBuf| {
        path.file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned()
    };
    paths
        .filter(|path| name(path).starts_with("key."))
        .collect()
}

#[tokio::test]
async fn a_new_key_takes_the_place_of_the_old_one_while_everybody_writes() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    fill(&engine).await;
    let old = key_files(dir.path());
    assert_eq!(old.len(), 1);
    let before = std::fs::read(dir.path().join("catalog")).expect("catalog");
    let store = engine.open("one").await.expect("keyspace");
    let writer = tokio::spawn(async move {
        for n in 0..200 {
            put(&*store, "n", &n.to_string()).await;
        }
    });
    assert_eq!(engine.rekey(Wrapping::Own).await.expect("rekey"), 3);
    writer.await.expect("writer");
    let store = engine.open("four").await.expect("made after it");
    put(&*store, "k", "four").await;
    check(&engine).await;
    engine.sleep("one").await.expect("sleep");
    check(&engine).await;
    drop(store);
    drop(engine);
    let new = key_files(dir.path());
    assert!(new.len() == 1 && new != old, "{new:?}");
    let engine = open(dir.path()).await;
    check(&engine).await;
    let store = engine.open("four").await.expect("keyspace");
    assert_eq!(value(&*store, "k").await.as_deref(), Some("four"));
    drop(store);
    engine.close();
    // What the catalog was is of no use with the key that there is now.
    std::fs::write(dir.path().join("catalog"), before).expect("write");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let refused = store.head().await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn a_key_change_may_lose_its_power_at_any_moment() {
    let mut cut = 0;
    loop {
        let dir = tempfile::tempdir().expect("dir");
        let disk = SimDisk::default();
        let on = |disk: &SimDisk| Options {
            disk: Arc::new(disk.clone()),
            ..Options::default()
        };
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        fill(&engine).await;
        disk.cut_power_after(cut);
        let done = engine.rekey(Wrapping::Own).await;
        engine.close();
        let disk = disk.after_power_cut(&mut Random::new(cut));
        let engine = Embedded::open(dir.path(), on(&disk)).await;
        let engine = engine.unwrap_or_else(|e| panic!("after {cut} operations: {e}"));
        check(&engine).await;
        let again = engine.rekey(Wrapping::Own).await;
        assert_eq!(again.expect("it is completed"), 3);
        engine.close();
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        check(&engine).await;
        if done.is_ok() {
            assert!(cut > 8, "{cut} operations are too few for it");
            return;
        }
        cut += 1;
    }
}

#[tokio::test]
async fn a_key_may_be_in_a_file_elsewhere_and_nothing_is_read_without_it() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("store");
    let file = dir.path().join("master");
    let engine = open(&root).await;
    fill(&engine).await;
    let relative = engine.rekey(Wrapping::File("master".into())).await;
    assert!(matches!(relative, Err(Error::Invalid(_))), "{relative:?}");
    let wrapping = Wrapping::File(file.clone());
    engine.rekey(wrapping.clone()).await.expect("rekey");
    assert_eq!(engine.wrapping(), wrapping);
    let same = engine.rekey(wrapping).await;
    assert!(matches!(same, Err(Error::Invalid(_))), "{same:?}");
    engine.close();
    assert!(key_files(&root).is_empty(), "the old one is gone");
    let key = std::fs::read(&file).expect("key");
    assert_eq!(key.len(), 32);
    std::fs::remove_file(&file).expect("remove");
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    let refused = store.head().await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains("master")),
        "{refused:?}"
    );
    // Here again, it is readable without a restart.
    std::fs::write(&file, &key).expect("write");
    use std::os::unix::fs::PermissionsExt;
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode));
    mode(0o644).expect("chmod");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = store.head().await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains("chmod 600")),
        "{refused:?}"
    );
    mode(0o600).expect("chmod");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    check(&engine).await;
    engine.close();
    std::fs::write(&file, [1; 32]).expect("another key");
    let engine = open(&root).await;
    let refused = engine.open("two").await.expect("keyspace").head().await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
}

struct Kms {
    plugin: Plugin,
    endpoint: String,
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

fn kms(dir: &Path) -> Kms {
    let plugin = Plugin::default();
    let socket = dir.join("kms.sock");
    Kms {
        task: plugin.listen(&socket),
        endpoint: format!("unix://{}", socket.display()),
        plugin,
        socket,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_asked_once_when_the_first_keyspace_wakes() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("store");
    let kms = kms(dir.path());
    let engine = open(&root).await;
    fill(&engine).await;
    let to = Wrapping::Kms(kms.endpoint.clone());
    engine.rekey(to.clone()).await.expect("rekey");
    assert!(key_files(&root).is_empty());
    engine.close();
    let (encrypted, decrypted) = (kms.plugin.calls("Encrypt"), kms.plugin.calls("Decrypt"));
    assert_eq!(encrypted, 1);
    let engine = open(&root).await;
    assert_eq!(engine.wrapping(), to);
    assert_eq!(engine.list().await.expect("list").len(), 3);
    assert_eq!(kms.plugin.calls("Decrypt"), decrypted, "nobody is awake");
    check(&engine).await;
    engine.sleep("one").await.expect("sleep");
    kms.task.abort();
    // A plugin that went away is not missed: the key is here.
    check(&engine).await;
    let store = engine.open("four").await.expect("a new one");
    put(&*store, "k", "four").await;
    assert_eq!(kms.plugin.calls("Decrypt"), decrypted + 1);
    engine.delete("one").await.expect("delete");
    engine.close();
    let catalog = std::fs::read(root.join("catalog")).expect("catalog");
    let entries = catalog
        .chunks(512)
        .filter(|slot| slot.iter().any(|b| *b != 0));
    assert_eq!(entries.count(), 3, "with its data key the tenant is erased");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_plugin_is_said_in_bounded_time() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("store");
    let kms = kms(dir.path());
    let engine = open(&root).await;
    fill(&engine).await;
    let to = || Wrapping::Kms(kms.endpoint.clone());
    let refused = async |engine: &Embedded, part: &str| {
        let began = Instant::now();
        let refused = engine.rekey(to()).await;
        assert!(
            matches!(&refused, Err(Error::Unavailable(text)) if text.contains(part)),
            "{refused:?} without {part}"
        );
        assert!(began.elapsed() < Duration::from_secs(8));
    };
    kms.plugin.say_health("the token expired");
    refused(&engine, "not healthy: \"the token expired\"").await;
    kms.plugin.say_health("ok");
    kms.plugin.say_version("v1beta1");
    refused(&engine, "version \"v1beta1\"").await;
    kms.plugin.say_version("v2");
    kms.plugin.answer_after(Duration::from_secs(60));
    refused(&engine, "no answer within 5 seconds").await;
    kms.plugin.answer_after(Duration::ZERO);
    let wrong = engine.rekey(Wrapping::Kms("http://kms".into())).await;
    assert!(matches!(&wrong, Err(Error::Invalid(text)) if text.contains("unix:///")));
    check(&engine).await;
    engine.rekey(to()).await.expect("now it is well");
    engine.close();

    kms.task.abort();
    std::fs::remove_file(&kms.socket).expect("remove");
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    for _ in 0..2 {
        let refused = store.head().await;
        assert!(
            matches!(&refused, Err(Error::Unavailable(text)) if text.contains("cannot be reached")),
            "{refused:?}"
        );
    }
    let new = engine.open("new").await.err();
    assert!(matches!(new, Some(Error::Unavailable(_))), "{new:?}");
    let _back = kms.plugin.listen(&kms.socket);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    check(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_kms_rotated_is_taken_up_and_the_old_one_is_not_needed() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("store");
    let kms = kms(dir.path());
    let to = || Wrapping::Kms(kms.endpoint.clone());
    let engine = open(&root).await;
    fill(&engine).await;
    engine.rekey(to()).await.expect("rekey");
    kms.plugin.rotate();
    engine.close();
    let engine = open(&root).await;
    check(&engine).await;
    engine.rekey(to()).await.expect("the new key is taken up");
    kms.plugin.forget_old_keys();
    engine.close();
    let engine = open(&root).await;
    check(&engine).await;
    // And away from the plugin again.
    engine.rekey(Wrapping::Own).await.expect("rekey");
    kms.task.abort();
    engine.close();
    let engine = open(&root).await;
    check(&engine).await;
    let store = engine.open("one").await.expect("keyspace");
    put_if(&*store, "new", 0, "x").await.expect("put");
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The same with a plugin on upstream's own gRPC service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_upstreams_library_seals_rotates_and_says_what_is_wrong() {
    let Some(program) = crate::real_etcd::upstream("kms-plugin") else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let dir = tempfile::tempdir().expect("dir");
    let (socket, keys) = (dir.path().join("kms.sock"), dir.path().join("keys"));
    let root = dir.path().join("store");
    std::fs::write(&keys, "first\n").expect("write");
    let child = std::process::Command::new(program)
        .arg("-listen")
        .arg(&socket)
        .arg("-keys")
        .arg(&keys)
        .spawn();
    let running = Running(child.expect("it starts"));
    until("it listens", || async { socket.exists() }).await;
    let to = || Wrapping::Kms(format!("unix://{}", socket.display()));
    let engine = open(&root).await;
    fill(&engine).await;
    engine.rekey(to()).await.expect("rekey");
    engine.close();
    let engine = open(&root).await;
    check(&engine).await;

    std::fs::write(&keys, "first\nsecond\n").expect("write");
    engine.rekey(to()).await.expect("the newer key is taken up");
    engine.close();
    std::fs::write(&keys, "second\n").expect("write");
    let engine = open(&root).await;
    check(&engine).await;
    engine.close();

    std::fs::write(&keys, "third\n").expect("write");
    let engine = open(&root).await;
    let refused = engine.open("one").await.expect("keyspace").head().await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text))
            if text.contains("Decrypt failed") && text.contains("there is no key")),
        "{refused:?}"
    );
    std::fs::remove_file(&keys).expect("remove");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = engine.open("one").await.expect("keyspace").head().await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains("not healthy")),
        "{refused:?}"
    );
    drop(running);
    std::fs::write(&keys, "second\n").expect("write");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = engine.open("one").await.expect("keyspace").head().await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains("cannot be reached")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_directory_that_lost_its_ring_says_so() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    fill(&engine).await;
    engine.close();
    let ring = dir.path().join("keys");
    let mut data = std::fs::read(&ring).expect("ring");
    *data.last_mut().expect("data") ^= 1;
    std::fs::write(&ring, data).expect("damage");
    let damaged = Embedded::open(dir.path(), Options::default()).await.err();
    let text = damaged.map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("`keys`"), "{text}");
    std::fs::remove_file(&ring).expect("remove");
    let missing = Embedded::open(dir.path(), Options::default()).await.err();
    let text = missing.map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("missing"), "{text}");
}
