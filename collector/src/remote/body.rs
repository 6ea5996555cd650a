//! A request before its message: what its headers say, and the snappy block that it is.

use axum::http::{HeaderMap, HeaderName, header};
use thiserror::Error;

/// No request's body may be longer.
pub const MAX_PACKED_BYTES: usize = 16 * 1024 * 1024;

/// No body may become longer once it is unpacked: as much as VictoriaMetrics takes, and far more than
/// a sender puts into one request.
const MAX_BYTES: usize = 32 * 1024 * 1024;

const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE: &str = "prometheus.WriteRequest";
const ENCODING: &str = "snappy";

/// Why a request's headers announce nothing that is understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderFault {
    /// Another kind of content.
    #[error("expected {MEDIA_TYPE} as the content type, got {0:?}")]
    MediaType(String),
    /// Another message, such as that of version 2.
    #[error("the message {0:?} is not accepted; {MESSAGE} of remote write 1.0 is")]
    Message(String),
    /// Another compression.
    #[error("{0:?} is not an accepted content encoding; {ENCODING} is")]
    Encoding(String),
}

/// Why a body is no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyFault {
    /// It would become too long.
    #[error("the message has {0} bytes unpacked, the limit is {MAX_BYTES}")]
    TooLong(usize),
    /// It is not a snappy block.
    #[error("the body cannot be unpacked: {0}")]
    Snappy(String),
}

/// Whether the headers announce a message that is understood. What is not said is taken for good, as
/// Prometheus does.
///
/// # Errors
/// The first header that says something else.
pub fn check_headers(headers: &HeaderMap) -> Result<(), HeaderFault> {
    let text = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.is_empty() && !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(HeaderFault::MediaType(content_type));
    }
    let message = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"').to_owned())
    });
    if let Some(message) = message.filter(|message| message != MESSAGE) {
        return Err(HeaderFault::Message(message));
    }
    let encoding = text(header::CONTENT_ENCODING).unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(ENCODING) {
        return Err(HeaderFault::Encoding(encoding));
    }
    Ok(())
}

/// Unpacks a body. Its length is known before anything is set aside for it.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, BodyFault> {
    let snappy = |error: snap::Error| BodyFault::Snappy(error.to_string());
    let length = snap::raw::decompress_len(packed).map_err(snappy)?;
    if length > MAX_BYTES {
        return Err(BodyFault::TooLong(length));
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(snappy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_what_version_1_says_is_understood() {
        let check = |content_type: Option<&str>, encoding: Option<&str>, expect: &str| {
            let mut headers = HeaderMap::new();
            let pairs =
                [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, encoding)];
            for (name, text) in pairs {
                if let Some(text) = text {
                    headers.insert(name, HeaderValue::from_str(text).unwrap());
                }
            }
            let said =
                check_headers(&headers).map_or_else(|fault| fault.to_string(), |()| "".into());
            assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{said:?}");
        };
        check(None, None, "");
        check(Some("application/x-protobuf"), Some("snappy"), "");
        check(Some("Application/X-Protobuf; proto=prometheus.WriteRequest"), Some("Snappy"), "");
        check(
            Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            Some("snappy"),
            "\"io.prometheus.write.v2.Request\" is not accepted",
        );
        check(Some("application/json"), Some("snappy"), "got \"application/json\"");
        check(Some("application/x-protobuf"), Some("zstd"), "\"zstd\" is not an accepted");
        check(Some("application/x-protobuf"), Some("gzip"), "\"gzip\" is not an accepted");
    }

    #[test]
    fn a_body_is_unpacked_within_its_bound() {
        let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        assert_eq!(unpack(&pack(b"abc")), Ok(b"abc".to_vec()));
        assert_eq!(unpack(&pack(&[])), Ok(Vec::new()));
        assert_eq!(unpack(&pack(&vec![0; MAX_BYTES + 1])), Err(BodyFault::TooLong(MAX_BYTES + 1)));
        // Four gigabytes are claimed by five bytes.
        assert_eq!(unpack(b"\xff\xff\xff\xff\x0f"), Err(BodyFault::TooLong(u32::MAX as usize)));
        assert!(matches!(unpack(b"\x05abc"), Err(BodyFault::Snappy(_))));
        assert!(matches!(unpack(b""), Err(BodyFault::Snappy(_))));
    }
}
