//! The connections of a worker, by host: of those that idle the one used last goes first, so that few stay warm and
//! the others, once they are old, are closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::connection::Connection;
use crate::domain::FastMap;

/// A connection is not used longer than this, so that DNS changes are followed.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);

/// Connections to every host.
#[derive(Debug)]
pub(super) struct Pool {
    hosts: RefCell<FastMap<String, Rc<Host>>>,
    keep_alive: Duration,
    max_connections: usize,
}

/// Connections to one host.
#[derive(Debug)]
struct Host {
    /// Those in use, and those that may be.
    permits: Semaphore,
    /// The one used last at the end.
    idle: RefCell<VecDeque<Idle>>,
    keep_alive: Duration,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Idle connections are kept for `keep_alive`; so many to one host are in use at the most.
    pub(super) fn new(keep_alive: Duration, max_connections: usize) -> Self {
        Self { hosts: RefCell::default(), keep_alive, max_connections }
    }

    /// A place among the connections to an authority (`host:port`), once one is free.
    pub(super) async fn place(&self, authority: &str) -> Place {
        let host = self.host(authority);
        // The semaphore is never closed, so this always is a permit.
        if let Ok(permit) = host.permits.acquire().await {
            permit.forget();
        }
        Place(host)
    }

    fn host(&self, authority: &str) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(host) = hosts.get(authority) {
            return Rc::clone(host);
        }
        let permits = Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS));
        let host = Rc::new(Host { permits, idle: RefCell::default(), keep_alive: self.keep_alive });
        hosts.insert(authority.to_owned(), Rc::clone(&host));
        host
    }

    /// Closes what has idled for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.hosts.borrow().values().for_each(|host| host.sweep(now));
    }

    /// Idle connections, to all hosts.
    #[cfg(test)]
    fn idle(&self) -> usize {
        self.hosts.borrow().values().map(|host| host.idle.borrow().len()).sum()
    }
}

impl Host {
    fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|oldest| now.duration_since(oldest.since) > self.keep_alive) {
            idle.pop_front();
        }
    }
}

/// A place among the connections to one host; dropped, it is another's.
#[derive(Debug)]
pub(super) struct Place(Rc<Host>);

impl Place {
    /// The idle connection that was used last, if one is still good.
    pub(super) fn idle_connection(&self, now: Instant) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.0.idle.borrow_mut().pop_back()?;
            let is_fresh = now.duration_since(since) <= self.0.keep_alive
                && now.duration_since(connection.opened()) <= CONNECTION_LIFETIME;
            if is_fresh && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, and gives the place back.
    pub(super) fn keep(self, connection: Connection) {
        let since = Instant::now();
        self.0.idle.borrow_mut().push_back(Idle { connection, since });
        self.0.sweep(since);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::connection::Dialler;
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(20);

    async fn connected(listener: &TcpListener) -> (Connection, tokio::net::TcpStream) {
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let dialler = Dialler::new(None, Duration::from_secs(5));
        let (connection, accepted) = tokio::join!(dialler.connect(uri), listener.accept());
        (connection.unwrap(), accepted.unwrap().0)
    }

    #[actix_rt::test]
    async fn the_connection_used_last_is_used_next_and_old_ones_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (first, _first_peer) = connected(&listener).await;
        let (second, _second_peer) = connected(&listener).await;
        let opened_second = second.opened();
        let pool = Pool::new(KEEP_ALIVE, 10);
        pool.place("a:1").await.keep(first);
        pool.place("a:1").await.keep(second);
        assert!(pool.place("b:1").await.idle_connection(Instant::now()).is_none());
        let place = pool.place("a:1").await;
        let taken = place.idle_connection(Instant::now()).unwrap();
        assert_eq!(taken.opened(), opened_second);
        place.keep(taken);
        assert_eq!(pool.idle(), 2);
        pool.sweep(Instant::now() + KEEP_ALIVE / 2);
        assert_eq!(pool.idle(), 2);
        pool.sweep(Instant::now() + 2 * KEEP_ALIVE);
        assert_eq!(pool.idle(), 0);
    }

    #[actix_rt::test]
    async fn a_connection_that_the_other_side_closed_or_wrote_to_is_not_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (closed, peer) = connected(&listener).await;
        let (spoken_to, mut talker) = connected(&listener).await;
        let (quiet, _quiet_peer) = connected(&listener).await;
        let opened_quiet = quiet.opened();
        drop(peer);
        tokio::io::AsyncWriteExt::write_all(&mut talker, b"HTTP/1.1 408").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let pool = Pool::new(KEEP_ALIVE, 10);
        for connection in [quiet, closed, spoken_to] {
            pool.place("a:1").await.keep(connection);
        }
        let found = pool.place("a:1").await.idle_connection(Instant::now()).unwrap();
        assert_eq!(found.opened(), opened_quiet);
        assert_eq!(pool.idle(), 0);
    }

    #[actix_rt::test]
    async fn a_host_has_so_many_places_and_no_more() {
        let pool = Pool::new(KEEP_ALIVE, 1);
        let taken = pool.place("a:1").await;
        let _other_host = pool.place("b:1").await;
        let wait = Duration::from_millis(10);
        assert!(tokio::time::timeout(wait, pool.place("a:1")).await.is_err());
        drop(taken);
        assert!(tokio::time::timeout(wait, pool.place("a:1")).await.is_ok());
    }
}
