//! Requests as they come in: heads, bodies of known length and in chunks.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Connection, Head, MAX_HEAD_BYTES};

/// The most headers a request may have.
const MAX_HEADERS: usize = 128;
/// How long a kept-alive connection may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// How long an upload may be silent.
const BODY_LIMIT: Duration = Duration::from_secs(60);

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::simulator) enum ReadError {
    #[error("the request head is malformed: {0}")]
    Malformed(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Connection {
    /// The next head, or `None` when the peer has closed or stayed silent too long.
    pub(in crate::simulator) async fn read_head(&mut self) -> Result<Option<Head>, ReadError> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer)? {
                self.buffer.advance(length);
                return Ok(Some(head));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(ReadError::Malformed("too long".to_owned()));
            }
            match timeout(IDLE_LIMIT, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Ok(None),
                Ok(read) => {
                    if read? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The body that follows a head.
    pub(in crate::simulator) async fn read_body(
        &mut self,
        head: &Head,
        limit: usize,
    ) -> Result<Bytes, ReadError> {
        let chunked = head.names_token("transfer-encoding", "chunked");
        let length = match head.header("content-length") {
            _ if chunked => 0,
            None => 0,
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| ReadError::Malformed(format!("content-length {text:?} is no number")))?,
        };
        if length > limit {
            return Err(ReadError::TooLarge(limit));
        }
        let expects_continue = head.names_token("expect", "100-continue");
        if expects_continue && (chunked || length > 0) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if chunked { self.read_chunks(limit).await } else { self.take(length).await }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, ReadError> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn read_chunks(&mut self, limit: usize) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        loop {
            let line = self.take_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_| ReadError::Malformed(format!("chunk size {digits:?}")))?;
            if size == 0 {
                while !self.take_line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            if size > limit.saturating_sub(body.len()) {
                return Err(ReadError::TooLarge(limit));
            }
            body.extend_from_slice(&self.take(size).await?);
            self.take_line().await?;
        }
    }

    async fn take_line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end.saturating_add(1));
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(ReadError::Malformed("a chunk line is too long".to_owned()));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        let read = timeout(BODY_LIMIT, self.stream.read_buf(&mut self.buffer))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if read == 0 { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(()) }
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut storage);
    let status = request.parse(buffer).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let target = origin_form(request.path.unwrap_or("/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = request.headers.iter();
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
            .collect(),
    };
    Ok(Some((head, length)))
}

fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/")
        }
        _ => target,
    }
}
