//! Names and statements. Every keyspace has a schema and a role of its own:
//!
//! * `head`: one row with the revision, the compact revision, and sums. Who writes locks it.
//! * `change`: one row per changed key and revision; `version` 0 is a deletion. Values are here.
//! * `live`: the keys that exist, each with the revision of its row in `change`.
//! * `lease`: leases and when they end, by the server's clock.
//! * `writer`: the last batch that each writing process committed, so that one whose answer was
//!   lost is found.

use ring::digest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest key: PostgreSQL's indexes hold no more.
pub(super) const MAX_KEY: usize = 2500;

/// What a keyspace is called in the database.
pub(super) struct Names {
    /// unique in this process; a keyspace that was deleted and made again has another
    pub(super) id: u64,
    pub(super) schema: Arc<str>,
    pub(super) role: Arc<str>,
    /// where its changes are announced
    pub(super) channel: Arc<str>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Names {
    /// Roles are common to all databases of a server, so they are named by the database, too.
    pub(super) fn new(prefix: &str, database: &str, id: &str) -> Self {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let readable = !id.is_empty() && id.chars().all(plain) && prefix.len() + id.len() < 60;
        let schema = if readable {
            format!("\"{prefix}_{id}\"")
        } else {
            format!("\"{prefix}_{}\"", short(&[id]))
        };
        let unique = short(&[database, prefix, id]);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            schema: schema.into(),
            role: format!("\"{prefix}_{unique}\"").into(),
            channel: format!("{prefix}_{unique}").into(),
        }
    }

    pub(super) fn text(&self, kind: Kind) -> String {
        kind.template().replace("{s}", &self.schema)
    }

    /// Creates everything a keyspace has, as its role.
    pub(super) fn creation(&self) -> String {
        CREATE
            .replace("{s}", &self.schema)
            .replace("{r}", &self.role)
    }
}

fn short(parts: &[&str]) -> String {
    let digest = digest::digest(&digest::SHA256, parts.join("\0").as_bytes());
    let hex = |byte: &u8| format!("{byte:02x}");
    digest.as_ref().iter().take(12).map(hex).collect()
}

const CREATE: &str = "
SET LOCAL ROLE {r};
CREATE TABLE {s}.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    rev bigint NOT NULL, compacted bigint NOT NULL, swept bigint NOT NULL,
    keys bigint NOT NULL, bytes bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO {s}.head VALUES (true, 1, 0, 0, 0, 0);
CREATE TABLE {s}.change (
    key bytea NOT NULL, rev bigint NOT NULL, value bytea NOT NULL, create_rev bigint NOT NULL,
    version bigint NOT NULL, lease bigint NOT NULL, prev_rev bigint NOT NULL
);
CREATE UNIQUE INDEX ON {s}.change (key, rev DESC);
CREATE INDEX ON {s}.change (rev);
CREATE TABLE {s}.live (
    key bytea PRIMARY KEY, rev bigint NOT NULL, create_rev bigint NOT NULL,
    version bigint NOT NULL, lease bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX ON {s}.live (lease) WHERE lease <> 0;
CREATE TABLE {s}.lease (
    id bigint PRIMARY KEY, ttl bigint NOT NULL, deadline timestamptz NOT NULL, token bigint NOT NULL
);
CREATE TABLE {s}.writer (id bigint PRIMARY KEY, seq bigint NOT NULL, at timestamptz NOT NULL)
    WITH (fillfactor = 20);
RESET ROLE;
";

/// One statement; see its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Lock,
    Head,
    Touched,
    Within,
    Leased,
    LeasesAlive,
    LeasesKnown,
    LeasesOver,
    Write,
    WriteIf,
    Sequence,
    PageNow,
    KeysNow,
    CountNow,
    PageThen,
    KeysThen,
    CountThen,
    History,
    Grant,
    Renew,
    Lease,
    Leases,
    NextLease,
    Swept,
    SweepOld,
    SweepDeletions,
    SweepDone,
    ForgetWriters,
}

/// The rows of live keys with their values.
macro_rules! live {
    ($condition:literal) => {
        concat!(
            "SELECT l.key, c.value, l.create_rev, l.rev, l.version, l.lease FROM {s}.live l ",
            "JOIN {s}.change c ON c.key = l.key AND c.rev = l.rev WHERE ",
            $condition
        )
    };
}

/// A page of a range at the newest revision: $1 from, $2 to, $3 limit or null. The first three
/// columns are of the same moment as the rows; there is one row without key if there is no other.
macro_rules! page_now {
    ($columns:literal, $join:literal) => {
        concat!(
            "SELECT h.rev, h.compacted, CASE WHEN $3::bigint IS NULL THEN 0 ELSE ",
            "(SELECT count(*) FROM {s}.live WHERE key >= $1 AND key < $2) END, r.* ",
            "FROM {s}.head h LEFT JOIN (SELECT l.key, ",
            $columns,
            ", l.create_rev, l.rev, l.version, l.lease FROM {s}.live l ",
            $join,
            " WHERE l.key >= $1 AND l.key < $2 ORDER BY l.key LIMIT $3) r ON true"
        )
    };
}

/// How many keys there were at $3: those that there are, and what has changed since.
macro_rules! count_then {
    ($at:literal) => {
        concat!(
            "((SELECT count(*) FROM {s}.live WHERE key >= $1 AND key < $2) + ",
            "(SELECT coalesce(sum((f.prev_rev > 0)::int - ",
            "(EXISTS (SELECT FROM {s}.live l WHERE l.key = f.key))::int), 0)::bigint FROM ",
            "(SELECT DISTINCT ON (key) key, prev_rev FROM {s}.change ",
            "WHERE rev > ",
            $at,
            " AND key >= $1 AND key < $2 ORDER BY key, rev) f))"
        )
    };
}

/// As `page_now`, at revision $4.
macro_rules! page_then {
    ($value:literal) => {
        concat!(
            "SELECT h.rev, h.compacted, CASE WHEN $3::bigint IS NULL THEN 0 ELSE ",
            count_then!("$4"),
            " END, r.* FROM {s}.head h LEFT JOIN (SELECT * FROM (SELECT DISTINCT ON (key) key, ",
            $value,
            ", create_rev, rev, version, lease FROM {s}.change ",
            "WHERE key >= $1 AND key < $2 AND rev <= $4 ORDER BY key, rev DESC) d ",
            "WHERE version > 0 LIMIT $3) r ON true"
        )
    };
}

impl Kind {
    fn template(self) -> &'static str {
        match self {
            Self::Lock => "SELECT rev, compacted, keys, bytes FROM {s}.head FOR UPDATE",
            Self::Head => "SELECT rev, compacted, keys, bytes FROM {s}.head",
            Self::Touched => live!("l.key = ANY($1)"),
            Self::Within => live!("l.key >= $1 AND l.key < $2 ORDER BY l.key"),
            Self::Leased => live!("l.lease = ANY($1) AND l.lease <> 0 ORDER BY l.key"),
            Self::LeasesAlive => {
                "SELECT id FROM {s}.lease WHERE id = ANY($1) AND deadline > clock_timestamp()"
            }
            Self::LeasesKnown => "SELECT id FROM {s}.lease WHERE id = ANY($1) FOR UPDATE",
            Self::LeasesOver => {
                "SELECT id FROM {s}.lease WHERE id = ANY($1) AND deadline <= clock_timestamp() FOR UPDATE"
            }
            Self::Write => WRITE,
            Self::WriteIf => WRITE_IF,
            Self::Sequence => "SELECT seq FROM {s}.writer WHERE id = $1",
            Self::PageNow => page_now!(
                "c.value",
                "JOIN {s}.change c ON c.key = l.key AND c.rev = l.rev"
            ),
            Self::KeysNow => page_now!("''::bytea", ""),
            Self::CountNow => {
                "SELECT rev, compacted, (SELECT count(*) FROM {s}.live WHERE key >= $1 AND key < $2) FROM {s}.head"
            }
            Self::PageThen => page_then!("value"),
            Self::KeysThen => page_then!("''::bytea"),
            Self::CountThen => concat!(
                "SELECT rev, compacted, ",
                count_then!("$3"),
                " FROM {s}.head"
            ),
            Self::History => HISTORY,
            Self::Grant => {
                "INSERT INTO {s}.lease SELECT $1, g.ttl, clock_timestamp() + make_interval(secs => g.ttl::float8), $3 FROM (SELECT $2::bigint AS ttl) g ON CONFLICT (id) DO UPDATE SET id = excluded.id WHERE lease.token = excluded.token RETURNING id"
            }
            Self::Renew => {
                "UPDATE {s}.lease SET deadline = clock_timestamp() + make_interval(secs => ttl::float8) WHERE id = $1 AND deadline > clock_timestamp() RETURNING ttl"
            }
            Self::Lease => {
                "SELECT l.ttl, extract(epoch FROM l.deadline - clock_timestamp())::float8, k.key FROM {s}.lease l LEFT JOIN {s}.live k ON k.lease = l.id AND k.lease <> 0 WHERE l.id = $1"
            }
            Self::Leases => "SELECT id FROM {s}.lease ORDER BY id",
            Self::NextLease => {
                "SELECT id, extract(epoch FROM deadline - clock_timestamp())::float8 FROM {s}.lease ORDER BY deadline LIMIT 1000"
            }
            Self::Swept => "SELECT swept, compacted FROM {s}.head",
            Self::SweepOld => {
                "WITH gone AS (DELETE FROM {s}.change d USING {s}.change n WHERE n.rev > $1 AND n.rev <= $2 AND n.prev_rev > 0 AND d.key = n.key AND d.rev = n.prev_rev RETURNING octet_length(d.key) + octet_length(d.value) + 64 AS size) SELECT coalesce(sum(size), 0)::bigint FROM gone"
            }
            Self::SweepDeletions => {
                "WITH gone AS (DELETE FROM {s}.change WHERE rev >= $1 AND rev < $2 AND version = 0 RETURNING octet_length(key) + 64 AS size) SELECT coalesce(sum(size), 0)::bigint FROM gone"
            }
            Self::SweepDone => {
                "UPDATE {s}.head SET swept = $2, bytes = bytes - $3 WHERE swept = $1"
            }
            Self::ForgetWriters => "DELETE FROM {s}.writer WHERE at < now() - interval '7 days'",
        }
    }
}

/// Everything that a batch changes, at once; one row, with the number of head rows changed.
const WRITE: &str = "\
WITH h AS (UPDATE {s}.head SET rev = $16, keys = $17, bytes = bytes + $18, compacted = $19 \
    RETURNING 1), \
c AS (INSERT INTO {s}.change SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], \
    $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])), \
l AS (INSERT INTO {s}.live SELECT * FROM unnest($8::bytea[], $9::bigint[], $10::bigint[], \
    $11::bigint[], $12::bigint[]) ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, \
    create_rev = excluded.create_rev, version = excluded.version, lease = excluded.lease), \
d AS (DELETE FROM {s}.live WHERE key = ANY($13::bytea[])), \
x AS (DELETE FROM {s}.lease WHERE id = ANY($20::bigint[])), \
w AS (INSERT INTO {s}.writer VALUES ($14, $15, now()) ON CONFLICT (id) DO UPDATE \
    SET seq = excluded.seq, at = excluded.at) \
SELECT count(*) FROM h";

/// The same, with a condition: the revision is $19, and no key of $20 is there. Whoever holds the
/// head row is waited for, and then it is at another revision. Should a row of an older state be
/// found here, so is the head row's, and the revision is another one as well.
const WRITE_IF: &str = "\
WITH h AS (UPDATE {s}.head SET rev = $16, keys = $17, bytes = bytes + $18 WHERE rev = $19 \
    AND NOT EXISTS (SELECT FROM {s}.live WHERE key = ANY($20::bytea[])) RETURNING 1), \
c AS (INSERT INTO {s}.change SELECT u.* FROM h, unnest($1::bytea[], $2::bigint[], $3::bytea[], \
    $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) u), \
l AS (INSERT INTO {s}.live SELECT u.* FROM h, unnest($8::bytea[], $9::bigint[], $10::bigint[], \
    $11::bigint[], $12::bigint[]) u ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, \
    create_rev = excluded.create_rev, version = excluded.version, lease = excluded.lease), \
d AS (DELETE FROM {s}.live USING h WHERE key = ANY($13::bytea[])), \
w AS (INSERT INTO {s}.writer SELECT $14, $15, now() FROM h ON CONFLICT (id) DO UPDATE \
    SET seq = excluded.seq, at = excluded.at) \
SELECT count(*) FROM h";

/// What changed from revision $3 on between $1 and $2, $4 rows at most, and if $5 what was
/// before. Found by the revision: the condition on the key is written so that no index fits it.
const HISTORY: &str = "\
SELECT h.rev, h.compacted, c.key, c.value, c.create_rev, c.rev, c.version, c.lease, \
    p.value, p.create_rev, p.rev, p.version, p.lease \
FROM {s}.head h LEFT JOIN (SELECT * FROM {s}.change WHERE rev >= $3 \
    AND (key >= $1 AND key < $2) IS TRUE ORDER BY rev LIMIT $4) c ON true \
LEFT JOIN {s}.change p ON $5 AND p.key = c.key AND p.rev = c.prev_rev";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be_and_never_too_long() {
        let names = Names::new("freehold", "db", "cp-1b4e28ba-2fa1-11d2-883f-0016d3cca427");
        assert_eq!(
            &*names.schema,
            "\"freehold_cp-1b4e28ba-2fa1-11d2-883f-0016d3cca427\""
        );
        for id in ["A\"; DROP", &"x".repeat(255), "ä"] {
            let names = Names::new("freehold", "db", id);
            assert!(names.schema.len() < 64 && names.role.len() < 64);
            assert_eq!(names.schema.matches('"').count(), 2);
            assert_ne!(names.role, Names::new("freehold", "other", id).role);
        }
    }
}
