//! One generic path per verb.

mod create;
mod delete;
mod get;
mod list;
mod patch;
mod update;
mod watch;

pub(crate) use delete::{Options as DeleteOptions, delete_one};

use crate::pipeline::Call;
use crate::write::Done;
use crate::{Body, hooks, reviews};
use freehold_model::ApiError;
use futures::future::BoxFuture;
use http::Response;
use std::sync::Arc;

/// Hands the request to its verb, special kinds and subresources first.
pub(crate) fn dispatch(
    call: &Arc<Call>,
    body: Body,
) -> BoxFuture<'_, Result<Response<Body>, ApiError>> {
    if reviews::handles(call) {
        return Box::pin(reviews::answer(call, body));
    }
    if hooks::subresource::handles(call) {
        return Box::pin(hooks::subresource::answer(call, body));
    }
    match call.info.verb.as_str() {
        "get" => Box::pin(get::get(call)),
        "list" => Box::pin(list::list(call)),
        "watch" => Box::pin(watch::watch(call)),
        "create" => Box::pin(create::create(call, body)),
        "update" => Box::pin(update::update(call, body)),
        "patch" => Box::pin(patch::patch(call, body)),
        "delete" => Box::pin(delete::delete(call, body)),
        "deletecollection" => Box::pin(delete::collection(call, body)),
        verb => {
            let e = ApiError::method_not_allowed(&call.info.group, &call.info.resource, verb);
            Box::pin(std::future::ready(Err(e)))
        }
    }
}

impl Call {
    /// The answer to a create, update or patch.
    pub(crate) async fn answer_done(&self, done: Done) -> Result<Response<Body>, ApiError> {
        match done {
            Done::Stored { object, created } => {
                self.answer_object(if created { 201 } else { 200 }, &object)
                    .await
            }
            Done::Deleted(object) => self.answer_object(200, &object).await,
            Done::Dry { value, created, .. } => {
                self.answer_served(if created { 201 } else { 200 }, value)
            }
        }
    }
}
