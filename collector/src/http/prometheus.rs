//! Prometheus' JSON: `{"status":"success","data":…}`, with warnings and infos beside the data.
//!
//! Answers to queries can be large, so they are written series by series while the client reads;
//! what was written is given free, and a slow client holds no thread.

use std::io::Write;
use std::iter;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use upkeep_promql::{Answer, Point, Row, Value, format_value};

/// Series are gathered into pieces of at least this size, so that small ones cost no write each.
const CHUNK_BYTES: usize = 64 * 1024;

/// The warning where a limit cut results off, in Prometheus' words.
const TRUNCATED: &str = "results truncated due to limit";

type WriteResult = Result<(), serde_json::Error>;

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A response with small data.
pub(super) fn success(data: impl Serialize) -> Response {
    axum::Json(Success { status: "success", data, warnings: Vec::new() }).into_response()
}

/// A response with a list, cut off at a limit with a warning.
pub(super) fn success_list<T: Serialize>(mut list: Vec<T>, limit: Option<usize>) -> Response {
    let warnings = truncate(&mut list, limit);
    axum::Json(Success { status: "success", data: list, warnings }).into_response()
}

fn truncate<T>(list: &mut Vec<T>, limit: Option<usize>) -> Vec<String> {
    match limit {
        Some(limit) if list.len() > limit => {
            list.truncate(limit);
            vec![TRUNCATED.to_owned()]
        }
        _ => Vec::new(),
    }
}

/// A response with a query's answer, at most `limit` series of it.
pub(super) fn answer(answer: Answer, limit: Option<usize>) -> Response {
    let Answer { value, mut warnings, infos } = answer;
    match value {
        Value::Scalar { at_ms, value } => {
            let text = format_value(value);
            document("scalar", warnings, infos, Content::Single(Pair { at_ms, text }))
        }
        Value::Text { at_ms, text } => {
            document("string", warnings, infos, Content::Single(Pair { at_ms, text }))
        }
        Value::Vector(mut points) => {
            warnings.extend(truncate(&mut points, limit));
            document("vector", warnings, infos, Content::List(points))
        }
        Value::Matrix(mut rows) => {
            warnings.extend(truncate(&mut rows, limit));
            document("matrix", warnings, infos, Content::List(rows))
        }
    }
}

/// What stands under `result`: one element, or a list of them.
enum Content<E> {
    Single(E),
    List(Vec<E>),
}

/// A part of a result that writes itself as JSON.
trait Element: Send + 'static {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult;
}

/// A time and a text, the form of every value.
struct Pair {
    at_ms: i64,
    text: String,
}

impl Element for Pair {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        write_pair(out, self.at_ms, &self.text)
    }
}

impl Element for Point {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        out.extend_from_slice(b"{\"metric\":");
        serde_json::to_writer(&mut *out, &self.labels)?;
        out.extend_from_slice(b",\"value\":");
        write_pair(out, self.at_ms, &format_value(self.value))?;
        out.push(b'}');
        Ok(())
    }
}

impl Element for Row {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        out.extend_from_slice(b"{\"metric\":");
        serde_json::to_writer(&mut *out, &self.labels)?;
        out.extend_from_slice(b",\"values\":[");
        for (number, (at_ms, value)) in self.points.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_pair(out, *at_ms, &format_value(*value))?;
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

fn write_pair(out: &mut Vec<u8>, at_ms: i64, text: &str) -> WriteResult {
    out.push(b'[');
    write_seconds(out, at_ms)?;
    out.push(b',');
    serde_json::to_writer(&mut *out, text)?;
    out.push(b']');
    Ok(())
}

/// Seconds with milliseconds as the fraction, exact and without a detour through a float.
fn write_seconds(out: &mut Vec<u8>, at_ms: i64) -> WriteResult {
    let sign = if at_ms < 0 { "-" } else { "" };
    let (seconds, fraction) = (at_ms.unsigned_abs() / 1000, at_ms.unsigned_abs() % 1000);
    let written = match fraction {
        0 => write!(out, "{sign}{seconds}"),
        _ => write!(out, "{sign}{seconds}.{fraction:03}"),
    };
    written.map_err(serde_json::Error::io)
}

fn document<E: Element>(
    result_type: &'static str,
    warnings: Vec<String>,
    infos: Vec<String>,
    content: Content<E>,
) -> Response {
    let head =
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{result_type}\",\"result\":");
    let pieces = Pieces::new(head.into_bytes(), content, move |out| {
        out.push(b'}');
        for (name, texts) in [("warnings", warnings), ("infos", infos)] {
            if !texts.is_empty() {
                write!(out, ",\"{name}\":").map_err(serde_json::Error::io)?;
                serde_json::to_writer(&mut *out, &texts)?;
            }
        }
        out.push(b'}');
        Ok(())
    });
    let body = Body::from_stream(stream::iter(pieces));
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body).into_response()
}

/// The document as an iterator of pieces, each made when the one before was taken.
struct Pieces<E, F> {
    head: Vec<u8>,
    is_list: bool,
    elements: iter::Enumerate<std::vec::IntoIter<E>>,
    tail: Option<F>,
}

impl<E: Element, F: FnOnce(&mut Vec<u8>) -> WriteResult> Pieces<E, F> {
    fn new(mut head: Vec<u8>, content: Content<E>, tail: F) -> Self {
        let (is_list, elements) = match content {
            Content::Single(element) => (false, vec![element]),
            Content::List(elements) => (true, elements),
        };
        if is_list {
            head.push(b'[');
        }
        Self { head, is_list, elements: elements.into_iter().enumerate(), tail: Some(tail) }
    }

    fn fill(&mut self, piece: &mut Vec<u8>) -> WriteResult {
        while piece.len() < CHUNK_BYTES {
            let Some((number, element)) = self.elements.next() else {
                let Some(tail) = self.tail.take() else { return Ok(()) };
                if self.is_list {
                    piece.push(b']');
                }
                return tail(piece);
            };
            if number > 0 {
                piece.push(b',');
            }
            element.write(piece)?;
        }
        Ok(())
    }
}

impl<E: Element, F: FnOnce(&mut Vec<u8>) -> WriteResult> Iterator for Pieces<E, F> {
    type Item = Result<Bytes, serde_json::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.tail.as_ref()?;
        let mut piece = std::mem::take(&mut self.head);
        let filled = self.fill(&mut piece);
        Some(filled.map(|()| Bytes::from(piece)))
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::{Labels, METRIC_NAME};

    use super::*;

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn of(value: Value) -> Answer {
        Answer { value, warnings: Vec::new(), infos: Vec::new() }
    }

    #[tokio::test]
    async fn answers_have_prometheus_form() {
        let up = Labels::new([(METRIC_NAME, "up"), ("job", "a\"b")]);
        let point = |at_ms, value| Point { labels: up.clone(), at_ms, value };
        let check = async |answered: Answer, limit, expect: &str| {
            assert_eq!(body(answer(answered, limit)).await, expect);
        };
        check(
            of(Value::Scalar { at_ms: 1_500, value: f64::INFINITY }),
            None,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.500,"+Inf"]}}"#,
        )
        .await;
        check(
            of(Value::Text { at_ms: -1_007, text: "a\"\n".into() }),
            None,
            r#"{"status":"success","data":{"resultType":"string","result":[-1.007,"a\"\n"]}}"#,
        )
        .await;
        check(
            of(Value::Vector(Vec::new())),
            None,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        )
        .await;
        check(
            of(Value::Vector(vec![point(1_000, 1.0), point(2_000, 2.0)])),
            Some(1),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1,"1"]}]},"warnings":["results truncated due to limit"]}"#,
        )
        .await;
        let rows = vec![Row { labels: Labels::default(), points: vec![(0, 0.5), (20, f64::NAN)] }];
        check(
            Answer { value: Value::Matrix(rows), warnings: Vec::new(), infos: vec!["i".into()] },
            None,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"0.5"],[0.020,"NaN"]]}]},"infos":["i"]}"#,
        )
        .await;
    }

    #[tokio::test]
    async fn a_large_answer_comes_in_pieces_and_whole() {
        let points: Vec<(i64, f64)> = (0..4_000).map(|step| (step * 1000, 1.0)).collect();
        let row = |number: usize| Row {
            labels: Labels::new([("n", number.to_string())]),
            points: points.clone(),
        };
        let pieces = Pieces::new(Vec::new(), Content::List((0..10).map(row).collect()), |_| Ok(()));
        let pieces: Vec<Bytes> = pieces.map(Result::unwrap).collect();
        assert!(pieces.len() > 3, "{}", pieces.len());
        let whole: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(whole.as_array().map(Vec::len), Some(10));
    }
}
