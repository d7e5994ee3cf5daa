//! Entries of other versions of a kind: what changed is compared in the version of each entry, which
//! takes both states of the object in that version. structured-merge-diff `merge/update.go`
//! (`update`, `prune`, `addBackOwnedItems`) within apimachinery
//! `pkg/util/managedfields/internal/versionconverter.go`.

use super::Request;
use super::managed::{Entry, ManagerId, Managers};
use super::reset::Filter;
use super::schema::Ty;
use super::set::Set;
use super::walk::{self, Comparison};
use crate::catalogue::Resource;
use crate::{Str, Value, convert};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of a version that an entry names.
#[derive(Clone, Debug)]
pub enum Version {
    /// its fields are those of the version in use, as far as anybody here knows
    Alike,
    /// objects can be converted to it
    Other(Arc<Resource>),
    /// there is no such version of this kind
    Gone,
}

/// The versions of a kind, by `apiVersion`.
pub trait Versions: Sync {
    /// Never asked for the version in use.
    fn find(&self, api_version: &str) -> Version;
}

/// All versions of a kind have the same fields.
#[derive(Clone, Copy, Debug)]
pub struct Alike;

impl Versions for Alike {
    fn find(&self, _: &str) -> Version {
        Version::Alike
    }
}

/// Two states of an object and how they differ, in the version in use.
pub(super) struct Changes<'a> {
    pub(super) own: Comparison,
    pub(super) old: &'a Value,
    pub(super) new: &'a Value,
}

/// What changed of the fields that a request may change.
pub(super) fn compare(ty: Ty<'_>, filter: &Filter, old: &Value, new: &Value) -> Comparison {
    let mut changes = Comparison::of(ty, old, new);
    for set in [
        &mut changes.removed,
        &mut changes.modified,
        &mut changes.added,
    ] {
        *set = filter.apply(std::mem::take(set));
    }
    changes
}

/// A version that objects can be in.
pub(super) enum At<'a> {
    Own(&'a Resource),
    Other(Arc<Resource>),
}

impl At<'_> {
    fn resource(&self) -> &Resource {
        match self {
            Self::Own(resource) => resource,
            Self::Other(resource) => resource,
        }
    }

    pub(super) fn ty(&self) -> Ty<'_> {
        let resource = self.resource();
        Ty::root(&resource.types, resource.root)
    }

    fn named(&self, set: &Set) -> Set {
        walk::with_named(Some(self.ty()), set)
    }

    /// Every field of an object in this version.
    fn fields(&self, object: &Value) -> Set {
        self.named(&walk::to_set(self.ty(), object))
    }

    /// The object in another version; `None` when it cannot be converted.
    fn to<'v>(&self, other: &At<'_>, object: &'v Value) -> Option<Cow<'v, Value>> {
        let (from, to) = (self.resource(), other.resource());
        if from.version == to.version && from.group == to.group {
            return Some(Cow::Borrowed(object));
        }
        let mut object = object.clone();
        convert::convert(from, to, &mut object).ok()?;
        Some(Cow::Owned(object))
    }
}

impl<'a> Request<'a> {
    /// The version an entry names, unless it is gone.
    pub(super) fn at(&self, version: &str) -> Option<At<'a>> {
        if version == self.version.as_str() {
            return Some(At::Own(self.resource));
        }
        match self.by.versions.find(version) {
            Version::Alike => Some(At::Own(self.resource)),
            Version::Other(resource) => Some(At::Other(resource)),
            Version::Gone => None,
        }
    }

    /// What changed, in every other version that an entry is of: all of it, and in detail.
    pub(super) fn in_other_versions(
        &self,
        changes: &Changes<'_>,
        managers: &Managers,
        me: Option<&ManagerId>,
    ) -> BTreeMap<Str, (Set, Comparison)> {
        let mut all = BTreeMap::new();
        let own = At::Own(self.resource);
        for (_, entry) in managers.0.iter().filter(|(id, _)| Some(*id) != me) {
            if entry.version == self.version || all.contains_key(&entry.version) {
                continue;
            }
            let Some(at @ At::Other(_)) = self.at(&entry.version) else {
                continue;
            };
            let both = (own.to(&at, changes.old), own.to(&at, changes.new));
            if let (Some(old), Some(new)) = both {
                let filter = Filter::of(at.resource(), self.by.subresource);
                let changes = compare(at.ty(), &filter, &old, &new);
                all.insert(entry.version.clone(), (changes.changed(), changes));
            }
        }
        all
    }

    /// As `prune`, for owners in several versions.
    pub(super) fn prune_across(&self, merged: &Value, managers: &Managers, last: &Entry) -> Value {
        let pruned = self.at(&last.version).and_then(|at| {
            let own = At::Own(self.resource);
            let before = own.to(&at, merged)?;
            let gone = at.named(&last.set);
            let pruned = walk::remove(at.ty(), &before, &gone);
            let pruned = self.give_back(&at, &before, pruned, managers)?;
            // What was never this manager's comes back, too.
            let lost = at.fields(&before).difference(&at.fields(&pruned));
            let pruned = walk::remove(at.ty(), &before, &lost.intersection(&gone));
            at.to(&own, &pruned).map(Cow::into_owned)
        });
        pruned.unwrap_or_else(|| merged.clone())
    }

    /// What somebody owns is back in `pruned`, which was `before` in the version `at`.
    fn give_back(
        &self,
        at: &At<'_>,
        before: &Value,
        pruned: Value,
        managers: &Managers,
    ) -> Option<Value> {
        let mut owned: BTreeMap<Str, Set> = BTreeMap::new();
        for entry in managers.0.values() {
            let set = owned.entry(entry.version.clone()).or_default();
            *set = set.union(&entry.set);
        }
        let here = at.resource().api_version();
        let mut order: Vec<(Str, Set)> = owned.into_iter().collect();
        // Their own version first: a conversion may need what was taken.
        order.sort_by_key(|(version, _)| *version != here);
        let mut pruned = pruned;
        for (version, set) in order {
            let Some(other) = self.at(&version) else {
                continue;
            };
            let whole = at.to(&other, before)?;
            let now = at.to(&other, &pruned)?;
            let kept = other.fields(&now).union(&other.named(&set));
            let lost = other.fields(&whole).difference(&kept);
            let restored = walk::remove(other.ty(), &whole, &lost);
            pruned = other.to(at, &restored)?.into_owned();
        }
        Some(pruned)
    }
}
