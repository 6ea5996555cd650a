//! The enrollment token: what an operator carries from the collector to a new host.
//!
//! # Format, version 1
//! `upkeep1.` and then, in base64url without padding:
//!
//! | bytes | what |
//! |---|---|
//! | 1, n | length and text of the token's public id |
//! | 32 | the secret |
//! | 1, n | length and text of the collector's address, `host:port` |
//! | 1, 32 each | count of pins, and the SHA-256 of each root certificate (DER) to trust |
//! | 4 | CRC-32 of all bytes before, little endian: tells a typing mistake from a refusal |
//!
//! The checksum protects against cut and mistyped tokens only; what makes a token valid is the
//! collector's knowledge of its secret.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// What every token begins with; the digit is the format's version.
const PREFIX: &str = "upkeep1.";

/// The longest text field, since one byte counts it.
const MAX_TEXT_BYTES: usize = 255;

/// More roots than one in use and a few standing by make no sense, and a token must stay short.
const MAX_PINS: usize = 8;

/// Why a text is not a token, or why no token can be made of some parts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The text does not begin as tokens do.
    #[error("this is not an enrollment token: a token begins with \"upkeep1.\"")]
    Prefix,
    /// The text begins as a token of another version.
    #[error("the token is of format {0:?}, which this version does not know")]
    Version(String),
    /// The text is not base64url, or its checksum does not match.
    #[error("the token is mistyped or cut: its checksum does not match")]
    Damaged,
    /// The checksum matches, and yet a part does not have the expected form.
    #[error("the token's {0} is not valid")]
    Part(&'static str),
    /// The token names no root to trust, so that no connection could be trusted.
    #[error("the token carries no fingerprint of the collector's root certificate")]
    NoPin,
}

/// The SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate given as DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(formatter)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The 256 secret bits of a token. They are shown by no formatter.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret([u8; 32]);

impl TokenSecret {
    /// A secret of the given bytes, which must come from a cryptographic source.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be hashed or sent and never to be shown.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// An enrollment token. [`Token::to_text`] gives the text that contains the secret; there is no
/// `Display`, so that a token cannot be logged by mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: TokenSecret,
    address: String,
    pins: Vec<Fingerprint>,
}

impl Token {
    /// Makes a token of its parts.
    ///
    /// # Errors
    /// When the id is empty, not printable ASCII or too long; when the address is not `host:port`;
    /// when there is no pin, or more than eight.
    pub fn new(
        id: impl Into<String>,
        secret: TokenSecret,
        address: impl Into<String>,
        pins: Vec<Fingerprint>,
    ) -> Result<Self, TokenError> {
        let (id, address) = (id.into(), address.into());
        if id.is_empty() || id.len() > MAX_TEXT_BYTES || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Part("id"));
        }
        if !is_address(&address) {
            return Err(TokenError::Part("address"));
        }
        if pins.is_empty() {
            return Err(TokenError::NoPin);
        }
        if pins.len() > MAX_PINS {
            return Err(TokenError::Part("list of fingerprints"));
        }
        Ok(Self { id, secret, address, pins })
    }

    /// The public id, by which operators list and revoke tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret.
    pub fn secret(&self) -> &TokenSecret {
        &self.secret
    }

    /// The collector's address, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The fingerprints of the roots to trust, at least one.
    pub fn pins(&self) -> &[Fingerprint] {
        &self.pins
    }

    /// The token as text, secret included: for the operator's eyes and the host's token file.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(128);
        put_text(&mut bytes, &self.id);
        bytes.extend_from_slice(self.secret.reveal());
        put_text(&mut bytes, &self.address);
        bytes.push(self.pins.len() as u8);
        for pin in &self.pins {
            bytes.extend_from_slice(&pin.0);
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

/// Reads a token; white space around it is ignored, since it comes from files and terminals.
impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or_else(|| foreign(text))?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(TokenError::Damaged);
        }
        let mut body = body;
        let id = take_text(&mut body).ok_or(TokenError::Part("id"))?;
        let secret = take_32(&mut body).ok_or(TokenError::Part("secret"))?;
        let address = take_text(&mut body).ok_or(TokenError::Part("address"))?;
        let pins = take_pins(&mut body).ok_or(TokenError::Part("list of fingerprints"))?;
        Self::new(id, TokenSecret::new(secret), address, pins)
    }
}

fn foreign(text: &str) -> TokenError {
    match text.split_once('.') {
        Some((version, _)) if is_version(version) => TokenError::Version(version.to_owned()),
        _ => TokenError::Prefix,
    }
}

fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix("upkeep").unwrap_or_default();
    !digits.is_empty() && digits.len() < 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    address.len() <= MAX_TEXT_BYTES
        && !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'@')
        && (bracketed || !host.contains(':'))
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Texts were checked to be no longer than one byte can count when the token was made.
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn take_32(bytes: &mut &[u8]) -> Option<[u8; 32]> {
    let (taken, rest) = bytes.split_first_chunk::<32>()?;
    *bytes = rest;
    Some(*taken)
}

fn take_pins(bytes: &mut &[u8]) -> Option<Vec<Fingerprint>> {
    let (&count, rest) = bytes.split_first()?;
    *bytes = rest;
    let pins = (0..count).map(|_| take_32(bytes).map(Fingerprint)).collect::<Option<_>>()?;
    bytes.is_empty().then_some(pins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        let pins = vec![Fingerprint::of(b"root a"), Fingerprint::of(b"root b")];
        Token::new("tok-1", TokenSecret::new([7; 32]), "collector.example:8443", pins).unwrap()
    }

    fn sealed(body: &[u8]) -> String {
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        assert_eq!(format!("  {}\n", token().to_text()).parse(), Ok(token()));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let check = |text: &str, expect: TokenError| {
            assert_eq!(text.parse::<Token>(), Err(expect), "{text}");
        };
        let good = token().to_text();
        check("", TokenError::Prefix);
        check("hunter2", TokenError::Prefix);
        check("upkeepx.AAAA", TokenError::Prefix);
        check("upkeep2.AAAA", TokenError::Version("upkeep2".into()));
        check("upkeep1.", TokenError::Damaged);
        check("upkeep1.!!!!", TokenError::Damaged);
        check(&good[..good.len() - 1], TokenError::Damaged);
        check(&good.replacen("BwcH", "BwcI", 1), TokenError::Damaged);
        check(&sealed(b""), TokenError::Part("id"));
        check(&sealed(b"\x01a"), TokenError::Part("secret"));
        let head = [&b"\x01a"[..], &[7; 32]].concat();
        check(&sealed(&head), TokenError::Part("address"));
        let head = [&head[..], b"\x03a:1"].concat();
        check(&sealed(&head), TokenError::Part("list of fingerprints"));
        check(&sealed(&[&head[..], b"\x00"].concat()), TokenError::NoPin);
        check(
            &sealed(&[&head[..], b"\x00\x00"].concat()),
            TokenError::Part("list of fingerprints"),
        );
    }

    #[test]
    fn parts_that_make_no_token_are_refused() {
        let check = |id: &str, address: &str, expect: Option<&'static str>| {
            let pins = vec![Fingerprint::of(b"root")];
            let made = Token::new(id, TokenSecret::new([0; 32]), address, pins);
            assert_eq!(made.err(), expect.map(TokenError::Part), "{id} {address}");
        };
        check("a", "h:1", None);
        check("a", "[::1]:8443", None);
        check("", "h:1", Some("id"));
        check("a b", "h:1", Some("id"));
        for address in ["h", "h:", ":1", "h:0", "h:65536", "::1:8443", "a@h:1", "h/x:1"] {
            check("a", address, Some("address"));
        }
        check("a", &format!("{}:1", "h".repeat(254)), Some("address"));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("(secret)") && !shown.contains("7, 7"), "{shown}");
    }
}
