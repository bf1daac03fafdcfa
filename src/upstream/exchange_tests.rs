//! Exchanges with a peer on loopback: whole answers, short ones, early ones, and what becomes of the connection.

use futures_util::StreamExt as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::connection::Dialler;
use super::super::pool::Pool;
use super::*;

const AUTHORITY: &str = "h.example:80";

/// A connection in use, and its other end.
async fn connected(pool: &Pool) -> (InUse, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let dialler = Dialler::new(None, Duration::from_secs(5));
    let (connection, accepted) = tokio::join!(dialler.connect(uri), listener.accept());
    (InUse { connection: connection.unwrap(), place: pool.place(AUTHORITY).await }, accepted.unwrap().0)
}

fn pool() -> Pool {
    Pool::new(Duration::from_secs(20), 10)
}

fn post(body: Bytes) -> Written {
    let first = format!("POST /path HTTP/1.1\r\ncontent-length: {}\r\nhost: h.example\r\n\r\n", body.len());
    Written { first: first.into(), rest: body }
}

/// What a client sees of an answer: status, body, and whether that was whole.
async fn seen(pool: &Pool, answer: &'static [u8], closes: bool) -> (u16, Vec<u8>, bool) {
    let (used, mut peer) = connected(pool).await;
    actix_rt::spawn(async move {
        let mut request = vec![0; 1024];
        assert!(peer.read(&mut request).await.unwrap() > 0);
        for piece in answer.chunks(7) {
            peer.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if !closes {
            let _until_the_other_end_closes = peer.read(&mut request).await;
        }
    });
    let (start, mut body) = exchange(used, Rc::default(), post(Bytes::from_static(b"{}"))).await.unwrap();
    let mut data = Vec::new();
    while let Some(part) = body.next().await {
        match part {
            Ok(part) => data.extend_from_slice(&part),
            Err(_) => return (start.status.as_u16(), data, false),
        }
    }
    (start.status.as_u16(), data, true)
}

fn has_idle(pool: &Pool) -> bool {
    let mut place = std::pin::pin!(pool.place(AUTHORITY));
    let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
    let Poll::Ready(place) = place.as_mut().poll(&mut context) else { return false };
    place.idle_connection(Instant::now()).is_some()
}

const SIZED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

#[actix_rt::test]
async fn a_whole_answer_comes_through_in_pieces_and_gives_its_connection_back() {
    for answer in [SIZED, CHUNKED] {
        let pool = pool();
        assert_eq!(seen(&pool, answer, false).await, (200, b"hello world".to_vec(), true));
        assert!(has_idle(&pool));
    }
}

#[actix_rt::test]
async fn an_answer_without_a_body_gives_its_connection_back_at_once() {
    let pool = pool();
    assert_eq!(seen(&pool, b"HTTP/1.1 204 No Content\r\n\r\n", false).await, (204, vec![], true));
    assert!(has_idle(&pool));
}

#[actix_rt::test]
async fn a_connection_that_is_to_be_closed_or_said_too_much_is_not_used_again() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let pool = pool();
        assert_eq!(seen(&pool, answer, false).await, (200, b"ok".to_vec(), true));
        assert!(!has_idle(&pool));
    }
}

#[actix_rt::test]
async fn a_short_answer_is_seen_to_be_short() {
    for answer in [SIZED, CHUNKED] {
        for missing in [1, 3, 8] {
            let short = &answer[..answer.len() - missing];
            let pool = pool();
            let (_, data, is_whole) = seen(&pool, short, true).await;
            assert!(!is_whole && b"hello world".starts_with(&data), "{missing} bytes missing");
            assert!(!has_idle(&pool));
        }
    }
}

#[actix_rt::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let pool = pool();
    assert_eq!(seen(&pool, b"HTTP/1.1 200 OK\r\n\r\nsome", true).await, (200, b"some".to_vec(), true));
    assert!(!has_idle(&pool));
}

#[actix_rt::test]
async fn a_connection_closed_before_the_answer_is_an_error() {
    let (used, peer) = connected(&pool()).await;
    drop(peer);
    let error = exchange(used, Rc::default(), post(Bytes::new())).await.unwrap_err();
    assert!(
        error.to_string().contains("closed") || error.kind() == io::ErrorKind::ConnectionReset,
        "{error}"
    );
}

#[actix_rt::test]
async fn a_body_that_is_dropped_closes_its_connection() {
    let pool = pool();
    let (used, mut peer) = connected(&pool).await;
    peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart").await.unwrap();
    let (_, body) = exchange(used, Rc::default(), post(Bytes::new())).await.unwrap();
    drop(body);
    assert!(!has_idle(&pool));
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"POST /path HTTP/1.1\r\ncontent-length: 0\r\nhost: h.example\r\n\r\n");
}

#[actix_rt::test]
async fn an_answer_that_comes_before_all_was_sent_is_handed_on() {
    let pool = pool();
    let (used, mut peer) = connected(&pool).await;
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let refusing = actix_rt::spawn(async move {
        let mut head = [0; 64];
        assert!(peer.read(&mut head).await.unwrap() > 0);
        peer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        peer
    });
    let (start, mut answer) = exchange(used, Rc::default(), post(body)).await.unwrap();
    assert_eq!(start.status.as_u16(), 413);
    assert_eq!(answer.next().await.unwrap().unwrap(), "no");
    assert!(answer.next().await.is_none());
    assert!(!has_idle(&pool));
    drop(refusing.await.unwrap());
}
