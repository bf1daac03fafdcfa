//! The `Date` of answers, written anew each second.
//! <https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.7>

use std::cell::Cell;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// The date as it was last written.
#[derive(Debug)]
pub(super) struct Date(Cell<(i64, [u8; LENGTH])>);

impl Default for Date {
    fn default() -> Self {
        Self(Cell::new((i64::MIN, [b' '; LENGTH])))
    }
}

impl Date {
    /// The date now.
    pub(super) fn now(&self) -> [u8; LENGTH] {
        self.at(OffsetDateTime::now_utc())
    }

    fn at(&self, now: OffsetDateTime) -> [u8; LENGTH] {
        let (second, written) = self.0.get();
        if second == now.unix_timestamp() {
            return written;
        }
        let text = now.format(FORMAT).unwrap_or_default();
        let date = <[u8; LENGTH]>::try_from(text.as_bytes()).unwrap_or(written);
        self.0.set((now.unix_timestamp(), date));
        date
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_date_is_written_as_http_wants_it_and_follows_the_clock() {
        let date = Date::default();
        assert_eq!(&date.at(datetime!(1994-11-06 08:49:37 UTC)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date.at(datetime!(1994-11-06 08:49:37.9 UTC)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date.at(datetime!(2026-01-31 23:00:00 UTC)), b"Sat, 31 Jan 2026 23:00:00 GMT");
    }
}
