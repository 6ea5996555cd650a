//! Parameters of a request as Prometheus takes them: in the address or in a form, times as seconds
//! or RFC 3339, durations as seconds or in its own notation.

use std::time::Duration;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, header};

use super::bounds;
use super::error::ApiError;

/// The earliest and the latest time that Prometheus' clients may name in words; they mean
/// "unbounded".
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Times are bounded to what survives arithmetic on milliseconds without overflow.
pub(super) const MIN_TIME_MS: i64 = i64::MIN / 4;
/// The latest time, see [`MIN_TIME_MS`].
pub(super) const MAX_TIME_MS: i64 = i64::MAX / 4;

/// How long the pages of a list are.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageLengths {
    /// So many entries where the request does not say.
    pub(super) usual: u32,
    /// At most so many.
    pub(super) most: u32,
}

type Pairs = Vec<(String, String)>;

/// Names and values of a request: those of the form first, then those of the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Pairs);

impl Parameters {
    /// The first value of a name; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of a name.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds since 1970, or `None` where it is not given.
    ///
    /// # Errors
    /// When the value is no time.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, parse_time)
    }

    /// A time that has to be given.
    ///
    /// # Errors
    /// When the value is missing or no time.
    pub(super) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.get(name).unwrap_or_default()).map_err(|why| ApiError::parameter(name, why))
    }

    /// A duration in milliseconds, or `None` where it is not given.
    ///
    /// # Errors
    /// When the value is no duration.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, parse_duration)
    }

    /// The same as a length of time; a negative one counts as not given.
    ///
    /// # Errors
    /// When the value is no duration.
    pub(super) fn length(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let length = self.duration(name)?;
        Ok(length.and_then(|length| u64::try_from(length).ok()).map(Duration::from_millis))
    }

    /// A duration that has to be given.
    ///
    /// # Errors
    /// When the value is missing or no duration.
    pub(super) fn required_duration(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_duration(text).map_err(|why| ApiError::parameter(name, why))
    }

    /// How many results are wanted; `None` where it is not given or 0, which both mean all.
    ///
    /// # Errors
    /// When the value is no number, or negative.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let limit = self.parsed("limit", |text| match text.parse::<i64>() {
            Ok(number) => {
                usize::try_from(number).map_err(|_| "limit must be non-negative".to_owned())
            }
            Err(_) => Err(format!("cannot parse {text:?} to a valid number")),
        })?;
        Ok(limit.filter(|limit| *limit > 0))
    }

    /// How many entries a page may have: the default of the list where it is not given.
    ///
    /// # Errors
    /// When the value is no number, negative, or more than the list gives at once.
    pub(super) fn page(&self, lengths: PageLengths) -> Result<u32, ApiError> {
        let limit = self.limit()?.map_or(Ok(lengths.usual), u32::try_from);
        limit.ok().filter(|limit| *limit <= lengths.most).ok_or_else(|| {
            ApiError::parameter("limit", format!("a page has at most {} entries", lengths.most))
        })
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        self.get(name).map(parse).transpose().map_err(|why| ApiError::parameter(name, why))
    }
}

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let malformed =
            |why: String| ApiError::bad_data(format!("error parsing form values: {why}"));
        let Query(of_address) = Query::<Pairs>::try_from_uri(request.uri())
            .map_err(|rejection| malformed(rejection.body_text()))?;
        let mut pairs = Pairs::new();
        if has_form(&request) {
            let reading = Form::<Pairs>::from_request(request, state);
            let Form(of_form) =
                bounds::within_body_timeout(reading).await?.map_err(|rejection| {
                    bounds::body_error(rejection.status(), || malformed(rejection.body_text()))
                })?;
            pairs = of_form;
        }
        pairs.extend(of_address);
        Ok(Self(pairs))
    }
}

fn has_form(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    request.method() == Method::POST
        && kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

/// Reads a time: seconds since 1970 with a fraction, or RFC 3339. The result is in milliseconds.
fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid timestamp");
    if text == MIN_TIME_TEXT {
        return Ok(MIN_TIME_MS);
    }
    if text == MAX_TIME_TEXT {
        return Ok(MAX_TIME_MS);
    }
    let time = match text.parse::<f64>() {
        Ok(seconds) => milliseconds(seconds).ok_or_else(wrong)?,
        Err(_) => text
            .parse::<jiff::Timestamp>()
            .map(|time| time.as_millisecond())
            .map_err(|_| wrong())?,
    };
    Ok(time.clamp(MIN_TIME_MS, MAX_TIME_MS))
}

/// Reads a duration: seconds with a fraction, or Prometheus' notation such as `1h30m`. The result
/// is in milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) => milliseconds(seconds).filter(|length| *length <= MAX_TIME_MS),
        Err(_) => written_duration(text),
    };
    duration.ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// Whole milliseconds; `None` for what is not a number or beyond all bounds.
fn milliseconds(seconds: f64) -> Option<i64> {
    let exact = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within bounds")]
    (exact.abs() < 9e18).then_some(exact as i64)
}

/// The units of a duration from the longest to the shortest, in milliseconds; each may stand at
/// most once, in this order.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

fn written_duration(text: &str) -> Option<i64> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(number_end)?;
        let unit_end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*length)?)?;
        rest = tail;
    }
    (!text.is_empty() && total <= MAX_TIME_MS).then_some(total)
}

/// Cuts a page off what was found when one entry more than a page has was asked for. The page's last
/// entry, where there are others after it.
pub(super) fn cut<T>(found: &mut Vec<T>, limit: u32) -> Option<&T> {
    let is_last = found.len() <= limit as usize;
    found.truncate(limit as usize);
    found.last().filter(|_| !is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let check =
            |text: &str, expect: Option<i64>| assert_eq!(parse_time(text).ok(), expect, "{text}");
        check("0", Some(0));
        check("1435781451.781", Some(1_435_781_451_781));
        check("-1.5", Some(-1500));
        check("1e3", Some(1_000_000));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781));
        check("292277025-08-18T07:12:54.999999999Z", Some(MAX_TIME_MS));
        check("-292273086-05-16T16:47:06Z", Some(MIN_TIME_MS));
        check("1e300", None);
        check("NaN", None);
        check("inf", None);
        check("", None);
        check("now", None);
        check("2015-06-32T20:10:51Z", None);
    }

    #[test]
    fn durations_are_seconds_or_units_in_order() {
        let check = |text: &str, expect: Option<i64>| {
            assert_eq!(parse_duration(text).ok(), expect, "{text}")
        };
        check("0", Some(0));
        check("15", Some(15_000));
        check("0.25", Some(250));
        check("-1", Some(-1000));
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("1d12h", Some(129_600_000));
        check("250ms", Some(250));
        check("1m1ms", Some(60_001));
        check("1y", Some(31_536_000_000));
        check("1s1h", None);
        check("1m1m", None);
        check("5", Some(5000));
        check("5x", None);
        check("m", None);
        check("", None);
        check("-5m", None);
        check("99999999999999999y", None);
        check("1e300", None);
    }

    #[test]
    fn a_form_comes_before_the_address() {
        let parameters = Parameters(vec![
            ("query".into(), "of the form".into()),
            ("query".into(), "of the address".into()),
            ("time".into(), String::new()),
        ]);
        assert_eq!(parameters.get("query"), Some("of the form"));
        assert_eq!(parameters.all("query").count(), 2);
        assert_eq!(parameters.get("time"), None);
        assert_eq!(parameters.time("time"), Ok(None));
    }
}
