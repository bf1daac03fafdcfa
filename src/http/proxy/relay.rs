//! Steps 6 to 8: deployment, signature, AWS; on a failure that another deployment may not have, the next one.

use std::rc::Rc;

use actix_http::header::{self, HeaderValue};

use super::Admitted;
use super::answer::named_in_connection;
use super::body::Sent;
use super::failure::{TryFailure, is_forbidden, may_succeed_elsewhere, refused_credentials, stopping};
use crate::domain::{NanoUsd, UnixMicros};
use crate::error::GatewayError;
use crate::event::Begun;
use crate::http::Worker;
use crate::limits::Admission;
use crate::limits::PossibleCost;
use crate::limits::cost_bound::{CostQuestion, could_cost, likely_cost, likely_tokens};
use crate::meter::{Account, Ending, Opening, Place};
use crate::operation::headers::{is_named_in_connection, may_forward};
use crate::pricing::{PriceQuery, Quote};
use crate::route::{Endpoint, NamedRegion, Question, Route, RouteError, region_in_path, region_of_scope};
use crate::sign::{SignError, SigningOrder, UpstreamHead};
use crate::upstream::Answer;

/// How bedgate names itself to AWS.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("bedgate/", env!("CARGO_PKG_VERSION")));

/// Room for the headers that most requests have, those of the signature included.
const USUAL_HEADERS: usize = 12;

/// An answer of AWS, whatever its status, and who gave it.
pub(super) struct Relayed {
    pub(super) answer: Answer,
    pub(super) route: Route,
}

/// Sends the request until somebody answers.
pub(super) async fn to_aws(
    admitted: &Admitted<'_>,
    worker: &Worker,
    place: Place,
    admission: Admission,
) -> Result<(Relayed, Box<Account>), GatewayError> {
    let mut attempt = Attempts {
        admitted,
        worker,
        tried: Vec::new(),
        account: None,
        place: Some(place),
        admission,
        estimate: None,
    };
    let mut last_answer = None;
    let mut last_failure = None;
    loop {
        let route = match attempt.next_route().await {
            Ok(route) => route,
            Err(RouteError::NoneLeft) => break,
            Err(error @ (RouteError::UnknownModel(_) | RouteError::ForeignRegion(_))) => {
                return Err(attempt.fail(GatewayError::Validation(error.to_string())));
            }
            Err(RouteError::Stopped) => return Err(attempt.fail(stopping())),
        };
        if let Err(error) = attempt.afford(&route) {
            return Err(attempt.fail(error));
        }
        match attempt.try_at(&route).await {
            Ok(answer) if may_succeed_elsewhere(&answer) => {
                if is_forbidden(&answer) {
                    attempt.leave_out(&route);
                } else {
                    attempt.failed(&route);
                }
                if !admitted.may_be_sent_again() {
                    return attempt.answered(Relayed { answer, route });
                }
                last_answer = Some(Relayed { answer, route });
            }
            Ok(answer) => return attempt.answered(Relayed { answer, route }),
            Err(failure) if failure.may_go_elsewhere() && admitted.may_be_sent_again() => {
                attempt.failed(&route);
                last_failure = Some(failure);
            }
            Err(failure) => return Err(attempt.fail(failure.into())),
        }
    }
    match (last_answer, last_failure) {
        (Some(relayed), _) => attempt.answered(relayed),
        (None, Some(failure)) => Err(attempt.fail(failure.into())),
        (None, None) => Err(attempt.fail(stopping())),
    }
}

/// The tries of one request.
pub(super) struct Attempts<'a> {
    pub(super) admitted: &'a Admitted<'a>,
    pub(super) worker: &'a Worker,
    tried: Vec<usize>,
    /// Opened before the first try sends anything.
    pub(super) account: Option<Box<Account>>,
    place: Option<Place>,
    /// Handed to the account once that is open.
    admission: Admission,
    /// Of the deployment to be tried now.
    estimate: Option<NanoUsd>,
}

impl<'a> Attempts<'a> {
    /// Reserves what the request could cost at this deployment.
    fn afford(&mut self, route: &Route) -> Result<(), GatewayError> {
        let quote = self.worker.shared.prices.quote(&price_query(route, self.admitted.now));
        let question = self.question(route);
        self.estimate = self.estimated(&quote, &question);
        if let Some(account) = &mut self.account {
            account.could_cost(self.estimate);
        }
        let admission = self.account.as_deref_mut().map_or(&mut self.admission, Account::admission);
        if admission.is_unlimited() {
            return Ok(());
        }
        let cost = PossibleCost { bound: could_cost(&quote, &question), likely: self.estimate };
        admission.reserve(cost, likely_tokens(question.facts), UnixMicros::now())
    }

    fn question<'q>(&self, route: &'q Route) -> CostQuestion<'q>
    where
        'a: 'q,
    {
        let admitted = self.admitted;
        let base_model = route.deployment.base_model.as_deref();
        CostQuestion {
            service: admitted.call.service,
            operation: admitted.call.operation.name,
            model_id: base_model.or(route.model_id.as_deref()).unwrap_or_default(),
            facts: &admitted.facts,
            body: &admitted.body.bytes,
        }
    }

    /// What the request is taken to have cost where its cost stays unknown: its likely cost at the deployment's price, else
    /// what the configuration says of requests that nothing bounds.
    fn estimated(&self, quote: &Quote<'_>, question: &CostQuestion<'_>) -> Option<NanoUsd> {
        likely_cost(quote, question).or(self.worker.shared.config.budgets.estimate)
    }

    async fn next_route(&self) -> Result<Route, RouteError> {
        let question = Question {
            model: self.admitted.model.clone(),
            service: self.admitted.call.service,
            region: self.region(),
            tried: self.tried.clone(),
            now: self.admitted.now,
            random: rand::random(),
        };
        let mut route = self.worker.router.resolve(question).await?;
        if route.model_id.is_none() {
            // Nothing is sent by it: the body names it already.
            route.model_id.clone_from(&self.admitted.priced_model);
        }
        Ok(route)
    }

    /// The region that the request names: that of an ARN in its path, else, where that is allowed, that of its signature.
    fn region(&self) -> Option<NamedRegion> {
        let of_scope = || {
            let authorization = self.admitted.request.headers().get(header::AUTHORIZATION)?;
            region_of_scope(authorization.to_str().ok()?)
        };
        let may_be_of_scope = self.worker.shared.config.routing.region_from_signature;
        region_in_path(self.admitted.path).or_else(|| may_be_of_scope.then(of_scope).flatten())
    }

    /// Not this one again, for this request.
    fn leave_out(&mut self, route: &Route) {
        self.tried.push(route.deployment.slot);
    }

    /// After a try that failed in a way that others would meet, too.
    fn failed(&mut self, route: &Route) {
        self.leave_out(route);
        self.worker.router.failed(&route.deployment, UnixMicros::now());
    }

    /// One try; where AWS says that the credentials have expired, a second one with new ones.
    async fn try_at(&mut self, route: &Route) -> Result<Answer, TryFailure> {
        let (mut answer, generation) = self.send(route).await?;
        let is_expired = refused_credentials(&answer).is_some_and(|why| why.starts_with("ExpiredToken"));
        if is_expired && self.admitted.may_be_sent_again() {
            match self.worker.signer.renew(route.deployment.identity, generation).await {
                Ok(()) => (answer, _) = self.send(route).await?,
                Err(error) => log::warn!("AWS credentials have expired and could not be renewed: {error}"),
            }
        }
        let Some(why) = refused_credentials(&answer) else { return Ok(answer) };
        let reason =
            format!("AWS does not take the credentials of deployment {}: {why}", route.deployment.id);
        log::error!("request {}: {reason}", self.admitted.id);
        Err(TryFailure::Refused(reason))
    }

    async fn send(&mut self, route: &Route) -> Result<(Answer, u64), TryFailure> {
        let (admitted, deployment) = (self.admitted, &route.deployment);
        let service = admitted.call.service;
        let endpoint = deployment.endpoint(service).ok_or(TryFailure::Sign(SignError::Stopped))?;
        let (body, body_sha256) = body_for(admitted, route);
        let order = SigningOrder {
            identity: deployment.identity,
            region: deployment.region.clone(),
            service,
            head: head(admitted, route, endpoint, self.worker.shared.config.key_header_name.as_deref()),
            body_sha256,
            now: UnixMicros::now(),
        };
        if let Some(uplink) = &admitted.uplink {
            // On the heap: the memory of every request would have to hold what this takes.
            return Box::pin(self.open_stream(route, endpoint, order, uplink)).await;
        }
        let signed = self.worker.signer.sign(order).await.map_err(TryFailure::Sign)?;
        self.open_account(route).map_err(TryFailure::Journal)?;
        if let Some(account) = &mut self.account {
            account.sending();
        }
        let sent = self.worker.upstream.send(endpoint, signed.head, body, deployment.timeout).await;
        if let Some(account) = &mut self.account {
            account.tried(deployment, &sent);
        }
        if let Err(failure) = &sent {
            log::warn!("request {}: deployment {}: {failure}", admitted.id, deployment.id);
        }
        sent.map(|answer| (answer, signed.generation)).map_err(TryFailure::Send)
    }

    /// `begun` is in the journal before the first byte goes to AWS.
    pub(super) fn open_account(&mut self, route: &Route) -> std::io::Result<()> {
        let Some(place) = self.place.take() else { return Ok(()) };
        let admitted = self.admitted;
        let request = Rc::clone(&admitted.facts);
        let begun = begun(admitted, route, self.estimate);
        let opening = Opening {
            operation: admitted.call.operation,
            method: admitted.request.method().as_str(),
            path: admitted.request.uri().path(),
            started: admitted.started,
            request,
        };
        let mut account = Account::open(Rc::clone(&self.worker.accounts), begun, opening, place)?;
        account.hold(std::mem::take(&mut self.admission));
        self.account = Some(account);
        Ok(())
    }

    fn answered(self, relayed: Relayed) -> Result<(Relayed, Box<Account>), GatewayError> {
        let mut account = self
            .account
            .ok_or_else(|| GatewayError::Internal(anyhow::anyhow!("an answer without an account")))?;
        account.answered(&relayed.route, relayed.answer.status().as_u16(), relayed.answer.headers());
        Ok((relayed, account))
    }

    fn fail(&mut self, error: GatewayError) -> GatewayError {
        if let Some(account) = &mut self.account {
            account.end(Ending::Failed);
        }
        match error {
            GatewayError::NoCredentials(reason) => self.without_credentials(reason),
            error => error,
        }
    }

    /// Where credentials were looked for is nothing for everybody's eyes: roles, profiles, what STS said.
    fn without_credentials(&self, reason: String) -> GatewayError {
        let id = self.admitted.id;
        log::error!("request {id}: no AWS credentials: {reason}");
        let is_administrator = self.admitted.caller.key().is_none();
        GatewayError::NoCredentials(if is_administrator {
            reason
        } else {
            format!(
                "the gateway has no AWS credentials that work for this request; tell your administrator: its log \
                 says why, under {id}"
            )
        })
    }
}

fn price_query(route: &Route, at: UnixMicros) -> PriceQuery<'_> {
    let deployment = &route.deployment;
    PriceQuery {
        model_id: route.model_id.as_deref().unwrap_or_default(),
        region: deployment.region.as_str(),
        base_model: deployment.base_model.as_deref(),
        own: &deployment.prices,
        multipliers: &deployment.tier_multipliers,
        at,
    }
}

fn begun(admitted: &Admitted<'_>, route: &Route, estimate: Option<NanoUsd>) -> Begun {
    let key = admitted.caller.key();
    let deployment = &route.deployment;
    let attribution = admitted.attribution.clone();
    Begun {
        id: admitted.id,
        started_at: admitted.now,
        payer: admitted.caller.payer(),
        team_id: key.and_then(|key| key.team_id.clone()),
        user_id: key.and_then(|key| key.user_id.clone()),
        end_user: attribution.end_user,
        tags: attribution.tags,
        session_id: attribution.session_id,
        call_id: attribution.call_id,
        service: admitted.call.service,
        operation: admitted.call.operation.name.to_owned(),
        requested_model: admitted.model.as_deref().or(admitted.priced_model.as_deref()).map(str::to_owned),
        deployment: deployment.id.clone(),
        model_id: route.model_id.as_deref().map(str::to_owned),
        region: deployment.region.as_str().to_owned(),
        estimate,
    }
}

/// The client's bytes, but for the model name where the body is its place.
fn body_for(admitted: &Admitted<'_>, route: &Route) -> Sent {
    match (&admitted.model_in_body, &route.model_id) {
        (Some(span), Some(id)) if admitted.model != route.model_id => {
            admitted.body.with_string(span.clone(), id)
        }
        _ => admitted.body.as_it_is(),
    }
}

/// The head that goes to AWS: the client's path and query but for the model name, and those of its headers that
/// are on the list, without the one that is configured to carry keys.
fn head(
    admitted: &Admitted<'_>,
    route: &Route,
    endpoint: &Endpoint,
    key_header_name: Option<&str>,
) -> UpstreamHead {
    let request = admitted.request;
    let path = match (&admitted.call.model, &route.model_id) {
        (Some(model), Some(id)) => model.replaced_in(admitted.path, id),
        _ => admitted.path.to_owned(),
    };
    let path = if path.is_empty() { "/".to_owned() } else { path };
    let base_path = endpoint.base_path.as_str();
    let path = if base_path.is_empty() { path } else { [base_path, &path].concat() };
    let mut headers = Vec::with_capacity(USUAL_HEADERS);
    let connection = named_in_connection(request.headers());
    for (name, value) in request.headers() {
        let name_text = name.as_str();
        let is_for_this_hop = connection.iter().any(|listed| is_named_in_connection(name_text, listed));
        let holds_the_key = key_header_name.is_some_and(|key_header| key_header == name_text);
        if !is_for_this_hop && !holds_the_key && may_forward(name_text, admitted.call.operation) {
            headers.push((name.clone(), value.clone()));
        }
    }
    if let Ok(host) = HeaderValue::from_str(&endpoint.host) {
        headers.push((header::HOST, host));
    }
    headers.push((header::USER_AGENT, USER_AGENT));
    UpstreamHead {
        method: request.method().clone(),
        path,
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers,
    }
}
