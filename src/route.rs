//! Step 6: which deployment serves a call. The Router actor answers from memory: a table that never changes
//! while the process runs, and the health of its deployments, which all workers share.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult};

use crate::domain::{Service, UnixMicros};

mod balance;
mod deployments;
mod regions;

pub use balance::{Health, Tried};
pub use deployments::{Deployment, Endpoint, RouteTable};
pub use regions::{NamedRegion, region_in_path, region_of_scope};

/// What the Router is asked: the next deployment for a call.
#[derive(Clone, Debug)]
pub struct Question {
    /// The model name, decoded; `None` for operations without a model.
    pub model: Option<Arc<str>>,
    /// The service whose endpoint is needed.
    pub service: Service,
    /// The region that the request itself names, for calls that no entry of the configuration serves.
    pub region: Option<NamedRegion>,
    /// Deployments already tried for this call.
    pub tried: Tried,
    /// Now.
    pub now: UnixMicros,
    /// A random number, to spread the load.
    pub random: u64,
}

/// What the Router answers.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where to send the call.
    pub deployment: Arc<Deployment>,
    /// The model id AWS knows, decoded; `None` for operations without a model.
    pub model_id: Option<Arc<str>>,
}

/// Why there is no deployment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The name is not configured, and unlisted models may not pass.
    #[error("no model named {0:?} is configured here; GET /v1/models lists those you may use")]
    UnknownModel(String),
    /// The request names a region that is not known, or another partition's.
    #[error(
        "the region {0:?} that the request names is not one that this gateway calls; if it is right, ask your \
         administrator to name it (bedgate_settings.aws.further_regions)"
    )]
    ForeignRegion(String),
    /// Every deployment of the name was tried.
    #[error("every deployment of the model was tried")]
    NoneLeft,
    /// The actor is gone: the worker is stopping.
    #[error("the gateway is stopping")]
    Stopped,
}

/// The handle of a worker's Router.
#[derive(Clone, Debug)]
pub struct RouterHandle {
    router: Addr<Router>,
}

impl RouterHandle {
    /// Starts the Router of this worker thread.
    #[must_use]
    pub fn start(table: Arc<RouteTable>) -> Self {
        Self { router: Router { table }.start() }
    }

    /// The next deployment for a call.
    ///
    /// # Errors
    /// The model is unknown, or every deployment of it was tried.
    pub async fn resolve(&self, question: Question) -> Result<Route, RouteError> {
        #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
        let answer = self.router.send(Resolve(question)).await;
        answer.unwrap_or(Err(RouteError::Stopped))
    }

    /// Tells that a deployment throttled, failed, or could not be reached.
    pub fn failed(&self, deployment: &Arc<Deployment>, now: UnixMicros) {
        let told = Failed { deployment: Arc::clone(deployment), now };
        #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
        self.router.do_send(told);
    }
}

/// One per worker thread: a question costs about a microsecond, no thread is woken.
#[derive(Debug)]
struct Router {
    table: Arc<RouteTable>,
}

impl Actor for Router {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<Route, RouteError>")]
struct Resolve(Question);

impl Handler<Resolve> for Router {
    type Result = MessageResult<Resolve>;

    fn handle(&mut self, Resolve(question): Resolve, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.table.next(&question))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Failed {
    deployment: Arc<Deployment>,
    now: UnixMicros,
}

impl Handler<Failed> for Router {
    type Result = ();

    fn handle(&mut self, told: Failed, _: &mut Context<Self>) {
        self.table.failed(&told.deployment, told.now);
    }
}
