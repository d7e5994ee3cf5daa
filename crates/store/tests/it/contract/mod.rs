//! The contract as tests over the trait. Every engine and driver runs all of it.

mod kv;
mod lease;
mod table;
mod watch;

use freehold_store::{Keyspaces, Store};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The set of keyspaces under test.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) keyspaces: Arc<dyn Keyspaces>,
    next: Arc<AtomicU32>,
}

impl Fixture {
    pub(crate) fn new(keyspaces: Arc<dyn Keyspaces>) -> Self {
        Self {
            keyspaces,
            next: Arc::default(),
        }
    }

    /// A keyspace that nobody else uses.
    pub(crate) async fn fresh(&self) -> Arc<dyn Store> {
        let id = format!("case-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.keyspaces.open(&id).await.expect("keyspace")
    }
}

type Case = (&'static str, fn(Fixture) -> BoxFuture<'static, ()>);

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        const CASES: &[Case] = &[$($((
            concat!(stringify!($module), "::", stringify!($name)),
            |fixture| Box::pin($module::$name(fixture)),
        ),)+)+];
    };
}

cases! {
    kv: a_key_lives_through_create_update_delete_and_create_again
        a_failed_compare_runs_the_other_branch_and_writes_nothing
        a_transaction_is_one_revision_and_sees_itself
        every_kind_of_compare_compares
        every_relation_holds_for_keys_and_ranges
        transactions_nest_and_their_compares_see_one_state
        ranges_inside_a_transaction_see_its_changes
        an_update_keeps_what_is_not_given
        overlapping_inner_transactions_are_refused
        a_range_is_ordered_limited_and_counted_exactly
        every_kind_of_range_end_means_what_it_says
        old_revisions_stay_readable_until_compacted
        compaction_has_edges
        compaction_keeps_what_is_alive
        broken_requests_are_refused_and_change_nothing
        deleting_nothing_is_no_revision
        concurrent_increments_are_never_lost
        keyspaces_never_see_each_other
        a_deleted_keyspace_is_gone;
    watch: every_change_arrives_once_in_order_and_whole
        a_watch_resumes_from_any_revision
        a_watch_delivers_only_its_range
        previous_values_come_when_asked_for
        a_compacted_start_is_said_and_ends_the_stream
        a_deletion_at_the_compact_revision_is_still_delivered
        progress_follows_everything_before_it
        a_start_in_the_future_is_waited_for
        a_watch_from_now_sees_nothing_older
        many_watchers_see_the_same
        a_slow_watcher_costs_nobody_else_anything;
    lease: keys_vanish_when_their_lease_ends
        revoking_deletes_all_keys_in_one_revision
        unknown_leases_are_refused
        a_put_without_the_lease_takes_the_key_out_of_it
        a_key_moves_from_lease_to_lease
        a_lease_may_have_an_id_of_the_callers
        a_lease_tells_its_time_and_its_keys
        a_renewed_lease_outlives_its_first_deadline;
}

/// Runs every case; says which one failed.
pub(crate) async fn run(driver: &str, keyspaces: Arc<dyn Keyspaces>) {
    let fixture = Fixture::new(keyspaces);
    for (name, case) in CASES {
        let work = tokio::spawn(case(fixture.clone()));
        match tokio::time::timeout(Duration::from_secs(60), work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{driver}: {name}: {error}"),
            Err(_) => panic!("{driver}: {name}: no end after 60 s"),
        }
    }
    println!("{driver}: {} cases", CASES.len());
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    table::check(driver, &names);
}
