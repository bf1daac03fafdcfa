//! Single requests: `/spend/logs`, and those without a price.

use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::{AdminCaller, hash_of};
use super::error::AdminError;
use super::listing::{self, Frame};
use super::summary::{self, Period};
use super::{AdminState, MOMENT, Query, ShownPayers, duration, payer_named, show};
use crate::domain::EventId;
use crate::store::SpendFilter;
use crate::store::columns::StoredEventId;
use crate::store::spend::MAX_PAGE_SIZE;

/// Requests on a page, where `page` is given and `page_size` is not.
const DEFAULT_PAGE_SIZE: u32 = 100;
/// Requests that are read at once where all are asked for: some MiB of JSON.
const READ_AT_ONCE: u32 = 500;

/// `GET /spend/logs`. With `start_date` and `end_date` it sums up each day, as LiteLLM does, unless `summarize=false`.
/// Otherwise it lists requests, newest first: all of them, or those of a `page`.
pub(super) async fn logs(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    let caller = AdminCaller::of(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let page = query.optional_number("page", u32::MAX);
    let size = query.optional_number("page_size", MAX_PAGE_SIZE);
    let start = query.parsed("start_date", MOMENT, |text| Some((duration::begin_of(text)?, text.to_owned())));
    let end = query.parsed("end_date", MOMENT, |text| Some((duration::end_of(text)?, text.to_owned())));
    let asked = query.text("api_key");
    let mut filter = SpendFilter {
        payer: None,
        user_id: query.text("user_id"),
        request_id: query.text("request_id"),
        from: start.as_ref().map(|(from, _)| *from),
        until: end.as_ref().map(|(until, _)| *until),
    };
    let summarize = query.boolean("summarize");
    query.finish()?;
    filter.payer = match (&caller, asked) {
        (AdminCaller::Key(own), asked) => {
            let payer = own.payer().to_string();
            // By any value that it has had.
            if let Some(asked) = asked.as_deref().map(hash_of).filter(|asked| *asked != own.hash)
                && state.store.payer_of(asked).await? != payer
            {
                caller.may_see(Some(asked))?;
            }
            Some(payer)
        }
        (AdminCaller::Master, Some(asked)) => Some(payer_named(&state, &asked).await?),
        (AdminCaller::Master, None) => None,
    };
    let has_pages = page.is_some() || size.is_some();
    if let (Some((from, start)), Some((until, end))) = (start, end)
        && summarize.unwrap_or(!has_pages)
    {
        if has_pages {
            let message =
                "sums of days have no pages: leave page and page_size out, or ask for summarize=false";
            return Err(AdminError::bad(message, "page"));
        }
        let of_whole_days = duration::day_of(&start).is_some() && duration::day_of(&end).is_some();
        return summary::answer(state, filter, Period { from, until, of_whole_days }).await;
    }
    if has_pages {
        let number = page.unwrap_or(1);
        let found = state.store.spend_logs(filter, number, size.unwrap_or(DEFAULT_PAGE_SIZE)).await?;
        let rows = ShownPayers::of_rows(&state, &found.events).await?.logs(&found.events);
        return Ok(listing::page(&rows, number, found.more));
    }
    let read = move |after| {
        let (state, filter) = (state.clone(), filter.clone());
        async move {
            let page = state.store.spend_logs_after(filter, after, READ_AT_ONCE).await?;
            Ok((ShownPayers::of_rows(&state, &page.events).await?.logs(&page.events), page.next()))
        }
    };
    listing::all(Frame::none(), read).await
}

/// `GET /spend/unpriced`: requests whose price nobody knew, oldest first; `bedgate reprice` charges them. With
/// `page_size`, so many of those that follow `after`.
pub(super) async fn unpriced(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let size = query.optional_number("page_size", MAX_PAGE_SIZE);
    let after = query.parsed("after", "the metadata.event_id of the last one seen", |text| {
        text.parse().ok().map(|id| StoredEventId(EventId(id)))
    });
    query.finish()?;
    if let Some(size) = size {
        let rows = state.store.unpriced(after, size.saturating_add(1)).await?;
        let shown = ShownPayers::of_rows(&state, &rows).await?;
        return Ok(listing::first(rows, size, |row| show::spend_log(&row, shown.name(&row.payer))));
    }
    let read = move |last: Option<StoredEventId>| {
        let state = state.clone();
        async move {
            let rows = state.store.unpriced(last.or(after), READ_AT_ONCE).await?;
            let next = rows.last().map(|row| row.id);
            Ok((ShownPayers::of_rows(&state, &rows).await?.logs(&rows), next))
        }
    };
    listing::all(Frame::none(), read).await
}
