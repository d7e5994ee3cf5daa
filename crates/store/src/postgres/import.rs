//! Fills a new keyspace with an image: all of it, in one transaction, or nothing.

use super::fault::Fault;
use super::pool::{Held, by};
use super::sql::Names;
use crate::{Error, Image, KeyValue};
use std::time::Duration;
use tokio::time::Instant;

/// Keys and bytes per statement.
const ROWS: usize = 1000;
const BYTES: usize = 8 << 20;

/// Each statement may take `limit`.
pub(super) async fn run(
    held: &Held,
    id: &str,
    names: &Names,
    image: &Image,
    limit: Duration,
) -> Result<(), Fault> {
    let done = fill(held, id, names, image, limit).await;
    if done.is_err() {
        // A connection that is gone has rolled back by itself.
        drop(
            by(
                Instant::now() + limit,
                held.client().batch_execute("ROLLBACK"),
            )
            .await,
        );
    }
    done
}

async fn fill(
    held: &Held,
    id: &str,
    names: &Names,
    image: &Image,
    limit: Duration,
) -> Result<(), Fault> {
    let (client, schema) = (held.client(), &names.schema);
    let end = || Instant::now() + limit;
    let begin = format!("BEGIN; SET LOCAL ROLE {}", names.role);
    by(end(), client.batch_execute(&begin)).await?;
    let lock = format!("SELECT rev FROM {schema}.head FOR UPDATE");
    let head = by(end(), client.query_one(&lock, &[])).await?;
    if head.get::<_, i64>(0) != 1 {
        let text = format!("the keyspace {id} is not empty");
        return Err(Fault::Refused(Error::Invalid(text)));
    }
    let mut rest = &image.kvs[..];
    let mut bytes = 0;
    while !rest.is_empty() {
        let (part, more) = rest.split_at(part_of(rest));
        bytes += insert(held, schema, part, end()).await?;
        rest = more;
    }
    let lease = format!(
        "INSERT INTO {schema}.lease SELECT $1, $2, clock_timestamp() + make_interval(secs => $3::float8), 0"
    );
    for kept in &image.leases {
        let (ttl, left) = (signed(kept.granted), kept.remaining.as_secs_f64());
        by(end(), client.execute(&lease, &[&kept.id, &ttl, &left])).await?;
    }
    let head = format!(
        "UPDATE {schema}.head SET rev = $1, compacted = $1, swept = $1, keys = $2, bytes = $3"
    );
    let (rev, keys) = (signed(image.rev), signed(image.kvs.len() as u64));
    by(end(), client.execute(&head, &[&rev, &keys, &bytes])).await?;
    by(end(), client.batch_execute("COMMIT")).await
}

fn part_of(kvs: &[KeyValue]) -> usize {
    let mut bytes = 0;
    let fits = kvs.iter().take(ROWS).take_while(|kv| {
        bytes += kv.key.len() + kv.value.len();
        bytes <= BYTES
    });
    fits.count().max(1)
}

async fn insert(held: &Held, schema: &str, part: &[KeyValue], end: Instant) -> Result<i64, Fault> {
    let text = format!(
        "WITH r AS (SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], \
         $5::bigint[], $6::bigint[]) AS u(key, rev, value, create_rev, version, lease)), \
         c AS (INSERT INTO {schema}.change SELECT key, rev, value, create_rev, version, lease, 0 FROM r) \
         INSERT INTO {schema}.live SELECT key, rev, create_rev, version, lease FROM r"
    );
    let keys: Vec<&[u8]> = part.iter().map(|kv| &kv.key[..]).collect();
    let values: Vec<&[u8]> = part.iter().map(|kv| &kv.value[..]).collect();
    let number =
        |get: fn(&KeyValue) -> u64| -> Vec<i64> { part.iter().map(|kv| signed(get(kv))).collect() };
    let (revs, creates) = (number(|kv| kv.mod_rev), number(|kv| kv.create_rev));
    let versions = number(|kv| kv.version);
    let leases: Vec<i64> = part.iter().map(|kv| kv.lease).collect();
    by(
        end,
        held.client().execute(
            &text,
            &[&keys, &revs, &values, &creates, &versions, &leases],
        ),
    )
    .await?;
    let size = part.iter().map(|kv| kv.key.len() + kv.value.len() + 64);
    Ok(signed(size.sum::<usize>() as u64))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
