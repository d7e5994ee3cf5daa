//! What the user that connects does: the register of keyspaces, schemas and roles.

use super::fault::Fault;
use super::pool::{Held, by};
use super::sql::Names;
use crate::Error;
use tokio::time::Instant;

/// One number that our administrative transactions lock ("freehold").
const LOCK: i64 = 0x6672_6565_686f_6c64;

/// The register of keyspaces.
pub(super) async fn prepare(held: &Held, prefix: &str, end: Instant) -> Result<(), Fault> {
    let known = format!("SELECT to_regclass('{prefix}.keyspace') IS NOT NULL");
    let there = by(end, held.client().query_one(&known, &[])).await?;
    if there.get(0) {
        return Ok(());
    }
    let text = format!(
        "SELECT pg_advisory_xact_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS {prefix}; \
         CREATE TABLE IF NOT EXISTS {prefix}.keyspace (id text PRIMARY KEY, schema text NOT NULL, \
         role text NOT NULL, created timestamptz NOT NULL DEFAULT now())"
    );
    by(end, held.client().batch_execute(&text))
        .await
        .map_err(|fault| may_not("create a schema in the database", fault))
}

/// A schema and a role, unless they are there.
pub(super) async fn create(
    held: &Held,
    prefix: &str,
    id: &str,
    names: &Names,
    end: Instant,
) -> Result<(), Fault> {
    let known = format!("SELECT FROM {prefix}.keyspace WHERE id = $1");
    let client = held.client();
    if by(end, client.query_opt(&known, &[&id])).await?.is_some() {
        return Ok(());
    }
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})");
    by(end, client.batch_execute(&begin)).await?;
    // Somebody else may have been quicker.
    if by(end, client.query_opt(&known, &[&id])).await?.is_some() {
        return by(end, client.batch_execute("ROLLBACK")).await;
    }
    let (schema, role) = (&names.schema, &names.role);
    // A role that stayed behind, from a database of the same name, is taken over.
    let text = format!(
        "DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         GRANT {role} TO CURRENT_USER; CREATE SCHEMA {schema} AUTHORIZATION {role}; {}",
        names.creation()
    );
    by(end, client.batch_execute(&text))
        .await
        .map_err(|fault| may_not("create roles and schemas", fault))?;
    let register = format!("INSERT INTO {prefix}.keyspace (id, schema, role) VALUES ($1, $2, $3)");
    by(
        end,
        client.execute(&register, &[&id, &&schema[..], &&role[..]]),
    )
    .await?;
    by(end, client.batch_execute("COMMIT")).await
}

pub(super) async fn delete(
    held: &Held,
    prefix: &str,
    id: &str,
    names: &Names,
    end: Instant,
) -> Result<(), Fault> {
    let (schema, role) = (&names.schema, &names.role);
    let text = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); DROP SCHEMA IF EXISTS {schema} CASCADE; \
         DROP ROLE IF EXISTS {role}"
    );
    let forget = format!("DELETE FROM {prefix}.keyspace WHERE id = $1");
    let client = held.client();
    by(end, client.batch_execute(&text)).await?;
    by(end, client.execute(&forget, &[&id])).await?;
    by(end, client.batch_execute("COMMIT")).await
}

pub(super) async fn list(held: &Held, prefix: &str, end: Instant) -> Result<Vec<String>, Fault> {
    let text = format!("SELECT id FROM {prefix}.keyspace ORDER BY id");
    let rows = by(end, held.client().query(&text, &[])).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Says which right is missing.
fn may_not(what: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Broken(why) if why.contains("42501") => Fault::Refused(Error::Unavailable(format!(
            "the datastore's user may not {what} ({why}): grant it CREATEROLE, and CREATE on the database"
        ))),
        other => other,
    }
}
