//! Answers in Bedrock's place with bytes that stand ready: HTTP/1.1 keep-alive, plain or TLS, one thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::spawn_local;
use tokio_rustls::{TlsAcceptor, rustls};

use crate::Options;
use crate::answers::{Prepared, StreamPlan, stream_closing};
use crate::clock;
use crate::frames::StampedChunk;

/// A request head is smaller.
const HEAD_BYTES: usize = 4096;
/// A body's bytes are thrown away so many at a time.
const DISCARDED_AT_ONCE: usize = 256 << 10;

/// Serves until the process is ended.
pub async fn run(options: &Options) -> io::Result<()> {
    let tls = match (options.text("certificate"), options.text("key")) {
        (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
        _ => None,
    };
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], options.number("port", 0) as u16).into())?;
    let listener = socket.listen(16384)?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    let answers = Answers {
        converse: Prepared::converse(),
        opening: Prepared::stream_opening(),
        delta: StampedChunk::new(),
        closing: stream_closing().into(),
    };
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (answers, tls) = (answers.clone(), tls.clone());
        spawn_local(async move {
            // A connection that its client breaks off is the client's affair.
            let _ = match tls {
                None => converse(tcp, answers).await,
                Some(tls) => match tls.accept(tcp).await {
                    Ok(stream) => converse(stream, answers).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

fn acceptor(certificate: &str, key: &str) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[derive(Clone)]
struct Answers {
    converse: Prepared,
    opening: Prepared,
    delta: StampedChunk,
    closing: Arc<[u8]>,
}

/// One connection, request after request.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut answers: Answers) -> io::Result<()> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    loop {
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        };
        let request = Request::read(&head[..head_end])?;
        let have = head.len() - head_end;
        discard(&mut stream, request.body_bytes.saturating_sub(have)).await?;
        head.drain(..head_end + request.body_bytes.min(have));
        match request.plan {
            None => stream.write_all(answers.converse.next()).await?,
            Some(plan) => answer_in_frames(&mut stream, &mut answers, plan).await?,
        }
        stream.flush().await?;
    }
}

struct Request {
    body_bytes: usize,
    plan: Option<StreamPlan>,
}

impl Request {
    fn read(head: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = text.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let mut body_bytes = 0;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_bytes = value.trim().parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("the mock takes no chunked requests"));
            }
        }
        Ok(Self { body_bytes, plan: StreamPlan::from_path(path) })
    }
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S, mut left: usize) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let mut scratch = vec![0; left.min(DISCARDED_AT_ONCE)];
    while left > 0 {
        let room = left.min(scratch.len());
        match stream.read(&mut scratch[..room]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

async fn answer_in_frames<S: AsyncWrite + Unpin>(
    stream: &mut S,
    answers: &mut Answers,
    plan: StreamPlan,
) -> io::Result<()> {
    stream.write_all(answers.opening.next()).await?;
    stream.flush().await?;
    let pace = Duration::from_millis(plan.pace_ms.max(1));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + pace, pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..plan.deltas {
        if plan.pace_ms > 0 {
            ticks.tick().await;
        }
        stream.write_all(answers.delta.stamped(clock::now())).await?;
        stream.flush().await?;
    }
    stream.write_all(&answers.closing).await
}
