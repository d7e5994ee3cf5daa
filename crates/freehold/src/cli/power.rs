//! `freehold sleep` and `freehold wake`

use super::{Global, Printer, Target, Trouble, objects};
use anyhow::Result;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

/// A control plane falls asleep or wakes within this time, or something is wrong.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: objects::Which,
}

/// `spec.power`
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// sleeps when idle, wakes on request
    Auto,
    /// stays asleep; requests are told how to wake it
    Asleep,
}

pub(crate) async fn run(args: &Args, state: State, global: &Global, out: &Printer) -> Result<()> {
    let target = Target::connect(global).await?;
    let found = args.which.find(&target.client).await?;
    let (power, done) = match state {
        State::Auto => ("Auto", "is awake"),
        State::Asleep => ("Asleep", "is asleep until `freehold wake`"),
    };
    let patch = json!({"spec": {"power": power}});
    found
        .api
        .patch(&found.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|e| Trouble::from_api("change", &found.shown(), e))?;
    let wanted = match state {
        State::Auto => "True",
        State::Asleep => "False",
    };
    let there = |object: &DynamicObject| objects::serving(object).as_deref() == Some(wanted);
    objects::until(&found.api, &found.name, &found.shown(), LIMIT, out, there).await?;
    out.line(format!("{} {done}", found.shown()));
    Ok(())
}
