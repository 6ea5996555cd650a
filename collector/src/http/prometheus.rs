//! Prometheus' JSON: `{"status":"success","data":…}`, with warnings and infos beside the data.

use std::io::Write;

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use upkeep_promql::{Answer, Point, Row, Value, ValueText};

use super::pieces::{self, Content, Element, WriteResult};
use crate::query::Place;

/// The warning where a limit cut results off, in Prometheus' words.
const TRUNCATED: &str = "results truncated due to limit";

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

/// A response with small data.
pub(super) fn success(data: impl Serialize) -> Response {
    axum::Json(Success { status: "success", data }).into_response()
}

/// A response with a list, cut off at a limit with a warning. It keeps the place until it is sent.
pub(super) fn list<T: Serialize + Send + 'static>(
    (mut list, place): (Vec<T>, Place),
    limit: Option<usize>,
) -> Response {
    let warnings = truncate(&mut list, limit);
    let list = list.into_iter().map(Item).collect();
    let tail = tail("", &warnings, &[]);
    pieces::respond(b"{\"status\":\"success\",\"data\":".to_vec(), Content::List(list), tail, place)
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

/// A response with a query's answer, at most `limit` series of it. It keeps the place until it is
/// sent.
pub(super) fn answer((answer, place): (Answer, Place), limit: Option<usize>) -> Response {
    let Answer { value, mut warnings, infos } = answer;
    match value {
        Value::Scalar { at_ms, value } => {
            let pair = Pair { at_ms, text: ValueText(value).to_string() };
            document("scalar", (warnings, infos), Content::Single(pair), place)
        }
        Value::Text { at_ms, text } => {
            document("string", (warnings, infos), Content::Single(Pair { at_ms, text }), place)
        }
        Value::Vector(mut points) => {
            warnings.extend(truncate(&mut points, limit));
            document("vector", (warnings, infos), Content::List(points), place)
        }
        Value::Matrix(mut rows) => {
            warnings.extend(truncate(&mut rows, limit));
            document("matrix", (warnings, infos), Content::List(rows), place)
        }
    }
}

fn document<E: Element>(
    result_type: &'static str,
    (warnings, infos): (Vec<String>, Vec<String>),
    content: Content<E>,
    place: Place,
) -> Response {
    let head =
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{result_type}\",\"result\":");
    pieces::respond(head.into_bytes(), content, tail("}", &warnings, &infos), place)
}

/// What follows on the data.
fn tail(closing: &str, warnings: &[String], infos: &[String]) -> Vec<u8> {
    let mut tail = closing.to_owned();
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            tail.push_str(&format!(",\"{name}\":{}", serde_json::json!(texts)));
        }
    }
    tail.push('}');
    tail.into_bytes()
}

/// What already knows how it is written.
struct Item<T>(T);

impl<T: Serialize + Send + 'static> Element for Item<T> {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        serde_json::to_writer(out, &self.0)
    }
}

/// A time and a text, the form of every value.
struct Pair {
    at_ms: i64,
    text: String,
}

impl Element for Pair {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        out.push(b'[');
        write_seconds(out, self.at_ms)?;
        out.push(b',');
        serde_json::to_writer(&mut *out, &self.text)?;
        out.push(b']');
        Ok(())
    }
}

impl Element for Point {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        out.extend_from_slice(b"{\"metric\":");
        serde_json::to_writer(&mut *out, &self.labels)?;
        out.extend_from_slice(b",\"value\":");
        write_pair(out, self.at_ms, ValueText(self.value))?;
        out.push(b'}');
        Ok(())
    }
}

impl Element for Row {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult {
        out.extend_from_slice(b"{\"metric\":");
        serde_json::to_writer(&mut *out, &self.labels)?;
        out.extend_from_slice(b",\"values\":[");
        for (number, (at_ms, value)) in self.points().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_pair(out, at_ms, ValueText(value))?;
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

/// The text of a value has nothing that JSON would escape.
fn write_pair(out: &mut Vec<u8>, at_ms: i64, text: ValueText) -> WriteResult {
    out.push(b'[');
    write_seconds(out, at_ms)?;
    write!(out, ",\"{text}\"]").map_err(serde_json::Error::io)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
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
            let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            assert_eq!(body(answer((answered, place), limit)).await, expect);
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
        let rows = vec![Row::new(Labels::default(), vec![(0, 0.5), (20, f64::NAN)])];
        check(
            Answer { value: Value::Matrix(rows), warnings: Vec::new(), infos: vec!["i".into()] },
            None,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"0.5"],[0.020,"NaN"]]}]},"infos":["i"]}"#,
        )
        .await;
    }
}
