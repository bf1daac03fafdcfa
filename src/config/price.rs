//! Decimal numbers of dollars → integer picodollars, digit by digit, so that no price passes through a float.

/// Decimals of a dollar that are kept: a picodollar is 10⁻¹² USD.
const DECIMALS: i32 = 12;

/// Longest text taken for a price.
const MAX_PRICE_CHARS: usize = 400;

/// Why a text is not a price.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAPrice {
    /// Not a decimal number.
    #[error("expected a decimal number of dollars such as 0.000003 or 3e-06")]
    NotADecimal,
    /// Below zero.
    #[error("a price cannot be negative")]
    Negative,
    /// Above what an `i64` holds, about nine million dollars.
    #[error("a price cannot be that high")]
    TooHigh,
}

/// Picodollars of a decimal number of dollars such as `3e-06`, `"0.000003"` or `0`. Digits beyond the twelfth
/// decimal are rounded half to even.
///
/// # Errors
/// When the text is not a decimal number, is negative or does not fit.
pub fn picodollars(text: &str) -> Result<i64, NotAPrice> {
    rounded(text).map(|rounded| rounded.amount)
}

/// Picodollars, and whether digits were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounded {
    pub(super) amount: i64,
    pub(super) is_exact: bool,
}

/// [`picodollars`] that says whether it rounded.
pub(super) fn rounded(text: &str) -> Result<Rounded, NotAPrice> {
    let text = text.trim();
    if text.len() > MAX_PRICE_CHARS {
        return Err(NotAPrice::NotADecimal);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| NotAPrice::NotADecimal)?),
        None => (text, 0_i32),
    };
    let is_negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAPrice::NotADecimal);
    }
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| NotAPrice::NotADecimal)?;
    let shift = exponent.saturating_sub(fraction_digits).saturating_add(DECIMALS);
    let digits = digits.trim_start_matches('0');
    let amount = shifted(digits, shift)?;
    // The digits that stand behind the twelfth decimal; beyond the last digit that is not zero there are none.
    let last = digits.trim_end_matches('0').len();
    let kept = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(i64::from(shift));
    let is_exact = i64::try_from(last).unwrap_or(i64::MAX) <= kept.max(0);
    if is_negative && amount != 0 { Err(NotAPrice::Negative) } else { Ok(Rounded { amount, is_exact }) }
}

/// `0.000003333334`.
pub(super) fn shown(picodollars: i64) -> String {
    let one = 10_i64.pow(DECIMALS.unsigned_abs());
    let text = format!("{}.{:012}", picodollars / one, picodollars % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The integer the digits name, times ten to the power of `shift`.
fn shifted(digits: &str, shift: i32) -> Result<i64, NotAPrice> {
    let number = |digits: &str| digits.parse::<i64>().map_err(|_| NotAPrice::TooHigh);
    if digits.is_empty() {
        return Ok(0);
    }
    if shift >= 0 {
        let scale = 10_i64.checked_pow(shift.unsigned_abs()).ok_or(NotAPrice::TooHigh)?;
        return number(digits)?.checked_mul(scale).ok_or(NotAPrice::TooHigh);
    }
    let dropped = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    let Some((kept, dropped)) = digits.len().checked_sub(dropped).and_then(|at| digits.split_at_checked(at))
    else {
        return Ok(0);
    };
    let floor = if kept.is_empty() { 0 } else { number(kept)? };
    Ok(floor.saturating_add(i64::from(rounds_up(floor, dropped))))
}

/// Half to even.
fn rounds_up(floor: i64, dropped: &str) -> bool {
    let (first, rest) = dropped.split_at_checked(1).unwrap_or((dropped, ""));
    let beyond_half = rest.bytes().any(|digit| digit != b'0');
    match first {
        "6" | "7" | "8" | "9" => true,
        "5" => beyond_half || floor % 2 == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_exact_picodollars() {
        let cases = [
            ("3e-06", 3_000_000),
            ("0.000003", 3_000_000),
            ("3E-6", 3_000_000),
            ("+3.75e-06", 3_750_000),
            ("0.00000003125", 31_250),
            ("1.5e-5", 15_000_000),
            (".5", 500_000_000_000),
            ("5.", 5_000_000_000_000),
            ("0", 0),
            ("0.0", 0),
            ("-0", 0),
            ("40", 40_000_000_000_000),
            (" 1e-12 ", 1),
            ("1e2", 100_000_000_000_000),
            ("000.100", 100_000_000_000),
            ("0.1e-5", 1_000_000),
            ("1e-30", 0),
            ("5e-13", 0),
            ("1.5e-12", 2),
            ("2.5e-12", 2),
            ("2.50001e-12", 3),
            ("6e-13", 1),
            ("3.3333333333333335e-07", 333_333),
            ("9223372.036854775807", i64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(picodollars(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_price_that_loses_digits_says_so() {
        for (text, is_exact, expected) in [
            ("3e-06", true, "0.000003"),
            ("0.0000033333337", false, "0.000003333334"),
            ("0.0000033333330", true, "0.000003333333"),
            ("3.3333333333333335e-07", false, "0.000000333333"),
            ("1e-12", true, "0.000000000001"),
            ("1e-13", false, "0"),
            ("0.00e-20", true, "0"),
            ("120", true, "120"),
            ("1e2", true, "100"),
        ] {
            let read = rounded(text).unwrap();
            assert_eq!((read.is_exact, shown(read.amount).as_str()), (is_exact, expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        use NotAPrice::{Negative, NotADecimal, TooHigh};
        let cases = [
            ("", NotADecimal),
            ("free", NotADecimal),
            ("$3", NotADecimal),
            ("1,5", NotADecimal),
            ("1e", NotADecimal),
            ("e5", NotADecimal),
            ("--1", NotADecimal),
            ("inf", NotADecimal),
            ("NaN", NotADecimal),
            ("-1e-6", Negative),
            ("1e99999999999", NotADecimal),
            ("1e2147483647", TooHigh),
            ("9223372.036854775808", TooHigh),
            ("99999999999999999999", TooHigh),
        ];
        for (text, expected) in cases {
            assert_eq!(picodollars(text), Err(expected), "{text}");
        }
        assert_eq!(picodollars("0e-2147483648"), Ok(0), "the smallest exponent does not overflow");
    }

    proptest::proptest! {
        #[test]
        fn every_amount_survives_its_decimal(amount in 0..i64::MAX, exponent in -9_i32..9) {
            let (whole, fraction) = (amount / 1_000_000_000_000, amount % 1_000_000_000_000);
            proptest::prop_assert_eq!(picodollars(&format!("{whole}.{fraction:012}")), Ok(amount));
            let shifted = format!("{amount}e{exponent}");
            let expected = 10_i128.pow((12 + exponent).unsigned_abs()).saturating_mul(amount.into());
            proptest::prop_assert_eq!(picodollars(&shifted).ok(), i64::try_from(expected).ok());
        }
    }
}
