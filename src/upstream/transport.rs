//! What lies beneath awc: connections that are kept warm, bodies that are not copied, answers that are read once.
//! awc's own connector makes a codec with a timer for each request, takes the connection that idled longest, copies
//! bodies into its buffer, and takes several kinds of short answers for whole ones.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_http::{BoxedPayloadStream, Payload, Uri};
use actix_service::{Service, fn_service};
use awc::error::{ConnectError, SendRequestError};
use awc::middleware::Transform;
use awc::{ConnectRequest, ConnectResponse};

use super::connection::Dialler;
use super::exchange::{InUse, exchange};
use super::pool::Pool;
use super::written::Written;
use crate::config::AwsConfig;
use crate::http1::ReadBuffer;

/// How often idle connections are looked through for old ones.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// A client over plain connections, or over TLS.
pub(super) fn client(config: &AwsConfig, tls: Option<Arc<rustls::ClientConfig>>) -> awc::Client {
    let dialler = Dialler::new(tls, config.connect_timeout);
    let pool = Pool::new(config.keep_alive, config.max_connections);
    let transport = Rc::new(TransportParts { dialler, pool, buffer: Rc::default() });
    sweep_now_and_then(&transport);
    awc::Client::builder()
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .wrap(InPlaceOfAwcs(fn_service(move |request| send(Rc::clone(&transport), request))))
        .finish()
}

struct TransportParts {
    dialler: Dialler,
    pool: Pool,
    buffer: Rc<ReadBuffer>,
}

/// A service that answers itself and asks no other.
struct InPlaceOfAwcs<S>(S);

impl<S, Below> Transform<Below, ConnectRequest> for InPlaceOfAwcs<S>
where
    S: Service<ConnectRequest>,
{
    type Transform = S;

    fn new_transform(self, _: Below) -> S {
        self.0
    }
}

fn sweep_now_and_then(transport: &Rc<TransportParts>) {
    let transport = Rc::downgrade(transport);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let Some(transport) = transport.upgrade() else { return };
            transport.pool.sweep(Instant::now());
        }
    });
}

async fn send(
    transport: Rc<TransportParts>,
    request: ConnectRequest,
) -> Result<ConnectResponse, SendRequestError> {
    let ConnectRequest::Client(head, body, _) = request else {
        return Err(SendRequestError::TunnelNotSupported);
    };
    let mut body = pin!(body);
    let written = poll_fn(|cx| Poll::Ready(Written::handed_on(body.as_mut(), cx))).await;
    let used = transport.connection(&head.as_ref().uri).await?;
    let exchanging = exchange(used, Rc::clone(&transport.buffer), written);
    let (start, body) = exchanging.await.map_err(SendRequestError::Send)?;
    // awc makes no answers for others but in its test helpers, which do no more than this.
    let answer = awc::test::TestResponse::default().finish().map_body(|head, _| {
        head.status = start.status;
        head.headers = start.headers;
        if body.has_ended() {
            return Payload::None;
        }
        let payload: BoxedPayloadStream = Box::pin(body);
        Payload::from(payload)
    });
    Ok(ConnectResponse::Client(answer))
}

impl TransportParts {
    /// A connection to the URI's host: one that idles and is good, or a new one.
    async fn connection(&self, uri: &Uri) -> Result<InUse, ConnectError> {
        let authority = uri.authority().ok_or(ConnectError::Unresolved)?;
        let place = self.pool.place(authority.as_str()).await;
        let connection = match place.idle_connection(Instant::now()) {
            Some(connection) => connection,
            // On the heap: most requests need no room for a handshake.
            None => Box::pin(self.dialler.connect(uri.clone())).await?,
        };
        Ok(InUse { connection, place })
    }
}
