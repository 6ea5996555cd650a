//! Documents that are written while the client reads them.
//!
//! An answer may be large. It is written element by element into pieces, each given free as it is sent,
//! so that the text of it is never there as a whole. A document of one piece is sent with its length.
//! Of a longer one the client has so long to read it as [`SEND_TIMEOUT`] says: then what is left of it
//! is given free together with the place among the queries that it holds, whatever the connection does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;

use super::error::ApiError;
use crate::query::Place;

/// A client that has not read its answer by then does not get the rest of it.
pub const SEND_TIMEOUT: Duration = Duration::from_mins(2);

/// Elements are gathered into pieces of at least this size, so that small ones cost no write each.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) type WriteResult = Result<(), serde_json::Error>;

/// A part of a list that writes itself as JSON.
pub(super) trait Element: Send + 'static {
    fn write(&self, out: &mut Vec<u8>) -> WriteResult;
}

/// What stands between the beginning and the end of a document.
pub(super) enum Content<E> {
    Single(E),
    List(Vec<E>),
}

/// The document of a beginning, a content and an end, as a response.
pub(super) fn respond<E: Element>(
    head: Vec<u8>,
    content: Content<E>,
    tail: Vec<u8>,
    place: Place,
) -> Response {
    respond_within(SEND_TIMEOUT, Pieces::new(head, content, tail), place)
}

fn respond_within<E: Element>(timeout: Duration, mut pieces: Pieces<E>, place: Place) -> Response {
    let first = match pieces.next() {
        Some(Ok(first)) => first,
        Some(Err(error)) => {
            return ApiError::internal("writing the answer", &error).into_response();
        }
        None => Vec::new(),
    };
    let body = if pieces.is_done() {
        drop(place);
        Body::from(first)
    } else {
        Body::from_stream(stream::iter(Sending::begin(timeout, first, pieces, place)))
    };
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body).into_response()
}

/// A document as an iterator of pieces, each made when the one before was taken.
struct Pieces<E> {
    head: Vec<u8>,
    is_list: bool,
    elements: std::iter::Enumerate<std::vec::IntoIter<E>>,
    tail: Option<Vec<u8>>,
}

impl<E: Element> Pieces<E> {
    fn new(mut head: Vec<u8>, content: Content<E>, tail: Vec<u8>) -> Self {
        let (is_list, elements) = match content {
            Content::Single(element) => (false, vec![element]),
            Content::List(elements) => (true, elements),
        };
        if is_list {
            head.push(b'[');
        }
        Self { head, is_list, elements: elements.into_iter().enumerate(), tail: Some(tail) }
    }

    fn is_done(&self) -> bool {
        self.tail.is_none()
    }

    fn fill(&mut self, piece: &mut Vec<u8>) -> WriteResult {
        while piece.len() < PIECE_BYTES {
            let Some((number, element)) = self.elements.next() else {
                if self.is_list {
                    piece.push(b']');
                }
                piece.extend(self.tail.take().unwrap_or_default());
                return Ok(());
            };
            if number > 0 {
                piece.push(b',');
            }
            element.write(piece)?;
        }
        Ok(())
    }
}

impl<E: Element> Iterator for Pieces<E> {
    type Item = Result<Vec<u8>, serde_json::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done() {
            return None;
        }
        let mut piece = std::mem::take(&mut self.head);
        let filled = self.fill(&mut piece);
        Some(filled.map(|()| piece))
    }
}

/// Why a document ends before its end.
#[derive(Debug, Error)]
enum SendError {
    #[error("the client took too long to read the answer")]
    TooSlow,
    #[error("writing the answer failed: {0}")]
    Json(#[from] serde_json::Error),
}

/// What is left of a document, with its place among those that run.
type Rest<E> = Arc<Mutex<Option<(Pieces<E>, Place)>>>;

/// A document under way. What is left of it is shared with a task that gives it free when the time is
/// over.
struct Sending<E> {
    first: Option<Vec<u8>>,
    rest: Rest<E>,
    has_ended: bool,
    _time: AbortOnDropHandle<()>,
}

impl<E: Element> Sending<E> {
    fn begin(timeout: Duration, first: Vec<u8>, pieces: Pieces<E>, place: Place) -> Self {
        let rest = Arc::new(Mutex::new(Some((pieces, place))));
        let held = Arc::clone(&rest);
        let time = tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        Self { first: Some(first), rest, has_ended: false, _time: AbortOnDropHandle::new(time) }
    }
}

impl<E: Element> Iterator for Sending<E> {
    type Item = Result<Bytes, SendError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first.into()));
        }
        if self.has_ended {
            return None;
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((pieces, _)) = rest.as_mut() else {
            self.has_ended = true;
            return Some(Err(SendError::TooSlow));
        };
        let piece = pieces.next();
        if piece.is_none() {
            self.has_ended = true;
            *rest = None;
        }
        Some(piece?.map(Bytes::from).map_err(SendError::from))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use tokio::sync::Semaphore;

    use super::*;

    struct Text(usize);

    impl Element for Text {
        fn write(&self, out: &mut Vec<u8>) -> WriteResult {
            serde_json::to_writer(out, &"x".repeat(self.0))
        }
    }

    fn document(elements: usize) -> Pieces<Text> {
        let list = (0..elements).map(|_| Text(20_000)).collect();
        Pieces::new(b"{\"data\":".to_vec(), Content::List(list), b"}".to_vec())
    }

    #[tokio::test]
    async fn a_large_document_comes_in_pieces_and_whole_and_holds_its_place_until_then() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let body = respond_within(SEND_TIMEOUT, document(20), place).into_body();
        assert_eq!(http_body_size(&body), None);
        let mut stream = body.into_data_stream();
        let mut pieces = Vec::new();
        while let Some(piece) = stream.next().await {
            assert_eq!(places.available_permits(), 0);
            pieces.push(piece.unwrap());
        }
        assert_eq!(places.available_permits(), 1);
        assert!(pieces.len() > 3, "{}", pieces.len());
        let whole: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(whole["data"].as_array().map(Vec::len), Some(20));
    }

    #[tokio::test]
    async fn a_small_document_has_a_length_and_holds_nothing() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let body = respond_within(SEND_TIMEOUT, document(1), place).into_body();
        assert_eq!(places.available_permits(), 1);
        assert_eq!(http_body_size(&body), Some(20_013));
    }

    #[tokio::test]
    async fn who_does_not_read_holds_no_place_for_ever() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let body = respond_within(Duration::from_millis(20), document(20), place).into_body();
        let mut stream = body.into_data_stream();
        assert!(stream.next().await.unwrap().is_ok());
        // It is free again although nobody asks for more, and although the stream is still there.
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let refused = stream.next().await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("too long"), "{refused}");
        assert!(stream.next().await.is_none());
        drop(place);
    }

    #[tokio::test]
    async fn who_goes_away_gives_the_place_back() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut stream =
            respond_within(SEND_TIMEOUT, document(20), place).into_body().into_data_stream();
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        // The task that holds the rest, too, ends soon.
        drop(places.acquire().await.unwrap());
    }

    fn http_body_size(body: &Body) -> Option<u64> {
        use hyper::body::Body as _;
        body.size_hint().exact()
    }
}
