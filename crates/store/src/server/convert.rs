//! Errors as etcd says them (`api/v3rpc/rpctypes/error.go`): clients compare these strings.

use crate::{Error, for_tenants, tenant};
use tonic::Status;

pub(super) fn empty_key() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

pub(super) fn status(error: Error) -> Status {
    match error {
        Error::Compacted(_) => {
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
        }
        Error::Future(_) => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        Error::NoSpace(_) => {
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded")
        }
        Error::TooLarge(_) => Status::invalid_argument("etcdserver: request is too large"),
        Error::Throttled(_) => Status::resource_exhausted("etcdserver: too many requests"),
        Error::LeaseNotFound(_) => Status::not_found("etcdserver: requested lease not found"),
        Error::LeaseExists(_) => Status::failed_precondition("etcdserver: lease already exists"),
        Error::KeyNotFound => Status::invalid_argument("etcdserver: key not found"),
        Error::Invalid(text) => Status::invalid_argument(format!("etcdserver: {text}")),
        Error::Corrupt(_) => {
            tenant::log(&error);
            Status::data_loss("etcdserver: corrupt cluster")
        }
        Error::Fenced(text) => Status::failed_precondition(format!("freehold: {text}")),
        Error::Deleted => Status::failed_precondition("etcdserver: the keyspace was deleted"),
        Error::SlowWatcher => Status::cancelled("etcdserver: watch canceled"),
        Error::Unavailable(_) => {
            Status::unavailable(format!("etcdserver: {}", for_tenants(&error)))
        }
    }
}
