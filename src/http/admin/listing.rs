//! Lists in answers: long ones are read from the database a page at a time and sent as they are read; where one ends
//! early, the answer's head says so.

use std::future::Future;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Bytes;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use super::error::AdminError;

/// Says whether more follows than the answer holds.
const HAS_MORE: &str = "x-has-more";
/// The `page` that follows.
const NEXT_PAGE: &str = "x-next-page";

/// A page of rows, and where the next one begins.
pub(super) type Page<P> = (Vec<Value>, Option<P>);

/// What stands around a list in an answer.
pub(super) struct Frame {
    opening: Vec<u8>,
    closing: &'static str,
}

impl Frame {
    /// Nothing: the answer is the list.
    pub(super) fn none() -> Self {
        Self { opening: b"[".to_vec(), closing: "]" }
    }

    /// The list is this member of an object, after its other members.
    pub(super) fn member(object: &serde_json::Map<String, Value>, name: &str) -> Self {
        let mut opening = Value::Object(object.clone()).to_string().into_bytes();
        opening.pop();
        let comma = if object.is_empty() { "" } else { "," };
        opening.extend_from_slice(format!("{comma}{}:[", Value::from(name)).as_bytes());
        Self { opening, closing: "]}" }
    }
}

/// All rows, page after page: only one is in memory. What goes wrong before the first page is known is an error
/// answer; what goes wrong afterwards breaks the answer off, so that nobody takes a part for the whole.
pub(super) async fn all<P, R, F>(frame: Frame, mut read: R) -> Result<HttpResponse, AdminError>
where
    P: 'static,
    R: FnMut(Option<P>) -> F + 'static,
    F: Future<Output = Result<Page<P>, AdminError>> + 'static,
{
    let Frame { opening, closing } = frame;
    let (rows, next) = read(None).await?;
    let mut list = Written { bytes: opening, has_rows: false };
    list.push(&rows);
    let mut answer = HttpResponse::Ok();
    answer.insert_header(ContentType::json()).insert_header((HAS_MORE, "false"));
    let Some(next) = next else {
        return Ok(answer.body(list.ended(closing)));
    };
    let first = list.take();
    let rest =
        stream::try_unfold((read, Some(next), list), move |(mut read, mut next, mut list)| async move {
            // A piece of nothing would be the end of the body.
            while list.bytes.is_empty() {
                let Some(place) = next.take() else { break };
                let (rows, follows) = read(Some(place)).await.inspect_err(broke_off)?;
                list.push(&rows);
                if follows.is_none() {
                    list.bytes.extend_from_slice(closing.as_bytes());
                }
                next = follows;
            }
            let piece = list.take();
            Ok::<_, AdminError>((!piece.is_empty()).then_some((piece, (read, next, list))))
        });
    Ok(answer.streaming(stream::once(async move { Ok(first) }).chain(rest)))
}

fn broke_off(error: &AdminError) {
    log::error!("a list broke off: {error}");
}

/// A list that is being written.
struct Written {
    bytes: Vec<u8>,
    has_rows: bool,
}

impl Written {
    fn push(&mut self, rows: &[Value]) {
        for row in rows {
            if self.has_rows {
                self.bytes.push(b',');
            }
            self.has_rows = true;
            self.bytes.extend_from_slice(row.to_string().as_bytes());
        }
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }

    fn ended(mut self, closing: &str) -> Bytes {
        self.bytes.extend_from_slice(closing.as_bytes());
        self.take()
    }
}

/// One page of many.
pub(super) fn page(rows: &[Value], number: u32, has_more: bool) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((HAS_MORE, has_more.to_string()));
    if has_more {
        answer.insert_header((NEXT_PAGE, number.saturating_add(1).to_string()));
    }
    answer.json(rows)
}

/// The first rows of those that were found, and whether there are others.
pub(super) fn first<T>(found: Vec<T>, limit: u32, show: impl Fn(T) -> Value) -> HttpResponse {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > limit;
    let mut list = Written { bytes: b"[".to_vec(), has_rows: false };
    for row in found.into_iter().take(limit) {
        list.push(&[show(row)]);
    }
    HttpResponse::Ok()
        .insert_header(ContentType::json())
        .insert_header((HAS_MORE, has_more.to_string()))
        .body(list.ended("]"))
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::json;

    use super::*;

    /// What is answered of pages with so many rows, and whether it is an answer at all.
    async fn answered(frame: Frame, pages: &'static [Option<usize>]) -> Result<Value, String> {
        let read = move |after: Option<usize>| async move {
            let number = after.unwrap_or_default();
            let rows = pages[number].ok_or_else(|| AdminError::bad("away", "database"))?;
            let rows = (0..rows).map(|row| json!([number, row])).collect();
            Ok((rows, (number + 1 < pages.len()).then_some(number + 1)))
        };
        let answer = all(frame, read).await.map_err(|error| error.to_string())?;
        let body = to_bytes(answer.into_body()).await.map_err(|_| "broken".to_owned())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn pages_become_one_list() {
        let cases: [(&[Option<usize>], usize); 6] = [
            (&[Some(0)], 0),
            (&[Some(2)], 2),
            (&[Some(2), Some(3)], 5),
            (&[Some(0), Some(0), Some(1), Some(0)], 1),
            (&[Some(1), Some(0)], 1),
            (&[Some(0), Some(0)], 0),
        ];
        for (pages, rows) in cases {
            let list = answered(Frame::none(), pages).await.unwrap();
            assert_eq!(list.as_array().unwrap().len(), rows, "{pages:?}");
            let object = json!({"team_id": "t"});
            let frame = Frame::member(object.as_object().unwrap(), "keys");
            let framed = answered(frame, pages).await.unwrap();
            assert_eq!(framed, json!({"team_id": "t", "keys": list}));
        }
        let alone = Frame::member(&serde_json::Map::new(), "keys");
        assert_eq!(answered(alone, &[Some(0)]).await.unwrap(), json!({"keys": []}));
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_read_to_its_end_has_none() {
        assert_eq!(answered(Frame::none(), &[None]).await, Err("away".to_owned()));
        assert_eq!(answered(Frame::none(), &[Some(1), Some(1), None]).await, Err("broken".to_owned()));
    }
}
