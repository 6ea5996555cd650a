//! D-Bus' wire format, as far as calls with texts and their answers need it.
//!
//! A message is a header and a body. Values are aligned to their size counted from the start of the
//! message, and since the header is padded to eight bytes, counted from the start of the body as
//! well. The first byte says in which order the bytes of numbers come.

use super::BusError;

/// The part of the header that has the same length in every message: order, kind, flags, version,
/// length of the body, serial number, and the length of the fields behind it.
pub(super) const FIXED_BYTES: usize = 16;

/// The most that a message may take in bytes. A host with ten thousand units stays under it.
const MAX_BYTES: usize = 8 << 20;

/// Kinds of message.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Fields of the header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method to call, and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Call<'call> {
    /// Whose method.
    pub destination: &'call str,
    /// Of which of its objects.
    pub path: &'call str,
    /// Of which of the object's interfaces.
    pub interface: &'call str,
    /// The method.
    pub member: &'call str,
    /// Its arguments.
    pub arguments: Arguments<'call>,
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'call> {
    /// So many texts, or none.
    Texts(&'call [&'call str]),
    /// One list of texts.
    List(&'call [&'call str]),
}

/// Writes a call in little-endian order.
pub(super) fn encode(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let (body, signature) = encode_arguments(call.arguments);
    let mut out = vec![b'l', CALL, 0, 1];
    put_number(&mut out, body.len());
    out.extend_from_slice(&serial.to_le_bytes());
    let length_at = out.len();
    put_number(&mut out, 0);
    for (field, kind, text) in [
        (PATH, b'o', call.path),
        (INTERFACE, b's', call.interface),
        (MEMBER, b's', call.member),
        (DESTINATION, b's', call.destination),
    ] {
        pad(&mut out, 8);
        out.extend_from_slice(&[field, 1, kind, 0]);
        put_text(&mut out, text);
    }
    if !signature.is_empty() {
        pad(&mut out, 8);
        out.extend_from_slice(&[SIGNATURE, 1, b'g', 0]);
        put_signature(&mut out, &signature);
    }
    let fields = length(out.len() - length_at - 4).to_le_bytes();
    if let Some(place) = out.get_mut(length_at..length_at + 4) {
        place.copy_from_slice(&fields);
    }
    pad(&mut out, 8);
    out.extend_from_slice(&body);
    out
}

fn encode_arguments(arguments: Arguments<'_>) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    match arguments {
        Arguments::Texts(texts) => {
            texts.iter().for_each(|text| put_text(&mut body, text));
            (body, "s".repeat(texts.len()))
        }
        Arguments::List(texts) => {
            let mut list = Vec::new();
            texts.iter().for_each(|text| put_text(&mut list, text));
            put_number(&mut body, list.len());
            body.extend_from_slice(&list);
            (body, "as".to_owned())
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    pad(out, 4);
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_signature(out: &mut Vec<u8>, signature: &str) {
    out.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(signature.as_bytes());
    out.push(0);
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&length(number).to_le_bytes());
}

fn length(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

/// How long a message is in all, told by the part of its header that always comes.
pub(super) fn length_of(fixed: [u8; FIXED_BYTES]) -> Result<usize, BusError> {
    let mut cursor = Cursor::new(&fixed, fixed.first() == Some(&b'B'));
    cursor.skip(4)?;
    let body = cursor.number()? as usize;
    cursor.skip(4)?;
    let fields = cursor.number()? as usize;
    let header = FIXED_BYTES.saturating_add(fields).next_multiple_of(8);
    match header.saturating_add(body) {
        total if total <= MAX_BYTES => Ok(total),
        _ => Err(BusError::Malformed("a message is longer than any that is expected")),
    }
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    big_endian: bool,
    body: Vec<u8>,
}

impl Reply {
    /// The values of the answer.
    pub fn values(&self) -> Cursor<'_> {
        Cursor::new(&self.body, self.big_endian)
    }
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The answer to the call of this serial number.
    Answer(u32, Result<Reply, Refusal>),
    /// Something that was not asked for.
    Other,
}

/// What a call was refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of error, such as `org.freedesktop.DBus.Error.AccessDenied`.
    pub name: String,
    /// What is said about it.
    pub message: String,
}

/// Reads a whole message.
pub(super) fn decode(message: &[u8]) -> Result<Received, BusError> {
    let big_endian = message.first() == Some(&b'B');
    let kind = *message.get(1).ok_or(SHORT)?;
    let mut cursor = Cursor::new(message, big_endian);
    cursor.skip(4)?;
    let body_bytes = cursor.number()? as usize;
    cursor.skip(4)?;
    let (mut reply_to, mut name) = (None, "");
    cursor.list(8, |field| {
        field.align(8)?;
        match field.byte()? {
            REPLY_SERIAL => reply_to = Some(field.variant()?.number()?),
            ERROR_NAME => name = field.variant()?.text()?,
            _ => field.skip_variant()?,
        }
        Ok(())
    })?;
    cursor.align(8)?;
    let body = cursor.take(body_bytes)?;
    let Some(serial) = reply_to else { return Ok(Received::Other) };
    Ok(match kind {
        RETURN => Received::Answer(serial, Ok(Reply { big_endian, body: body.to_vec() })),
        ERROR => {
            // By custom the first value of an error is a text, but it need not have any.
            let message = Cursor::new(body, big_endian).text().unwrap_or_default().to_owned();
            Received::Answer(serial, Err(Refusal { name: name.to_owned(), message }))
        }
        _ => Received::Other,
    })
}

const SHORT: BusError = BusError::Malformed("a message ends early");

/// Reads values one after another.
#[derive(Clone, Debug)]
pub struct Cursor<'message> {
    bytes: &'message [u8],
    at: usize,
    big_endian: bool,
}

impl<'message> Cursor<'message> {
    fn new(bytes: &'message [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian }
    }

    /// Reads a text or the path of an object.
    ///
    /// # Errors
    /// When there is none.
    pub fn text(&mut self) -> Result<&'message str, BusError> {
        let length = self.number()? as usize;
        let text = self.take(length)?;
        self.skip(1)?;
        std::str::from_utf8(text).map_err(|_| BusError::Malformed("a text is not UTF-8"))
    }

    /// Reads a number of four bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&mut self) -> Result<u32, BusError> {
        self.align(4)?;
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| SHORT)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Reads a number of eight bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn long_number(&mut self) -> Result<u64, BusError> {
        self.align(8)?;
        let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| SHORT)?;
        Ok(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// Reads a list whose entries are aligned to so many bytes; `entry` reads one of them.
    ///
    /// # Errors
    /// When it is none, or an entry cannot be read.
    pub fn list(
        &mut self,
        alignment: usize,
        mut entry: impl FnMut(&mut Self) -> Result<(), BusError>,
    ) -> Result<(), BusError> {
        let length = self.number()? as usize;
        self.align(alignment)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(SHORT)?;
        while self.at < end {
            let before = self.at;
            entry(self)?;
            if self.at == before || self.at > end {
                return Err(BusError::Malformed("a list does not end where it says"));
            }
        }
        Ok(())
    }

    /// Goes on to a place of this alignment, where a structure begins.
    ///
    /// # Errors
    /// When the message ends before it.
    pub fn align(&mut self, alignment: usize) -> Result<(), BusError> {
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.skip(padding)
    }

    /// Reads a value that is preceded by its type.
    ///
    /// # Errors
    /// When it is of another type than those that are expected here, or is cut off.
    pub fn variant(&mut self) -> Result<Variant<'message>, BusError> {
        let length = usize::from(self.byte()?);
        let kind = self.take(length)?;
        self.skip(1)?;
        Ok(match kind {
            b"s" | b"o" => Variant::Text(self.text()?),
            b"u" => Variant::Number(self.number()?),
            b"t" => Variant::LongNumber(self.long_number()?),
            b"g" => {
                let length = usize::from(self.byte()?);
                let signature = self.take(length)?;
                self.skip(1)?;
                Variant::Text(std::str::from_utf8(signature).unwrap_or_default())
            }
            _ => return Err(BusError::Malformed("a value is of a type that is not expected")),
        })
    }

    fn skip_variant(&mut self) -> Result<(), BusError> {
        self.variant().map(drop)
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    fn skip(&mut self, count: usize) -> Result<(), BusError> {
        self.take(count).map(drop)
    }

    fn take(&mut self, count: usize) -> Result<&'message [u8], BusError> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }
}

/// A value that was preceded by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant<'message> {
    /// A text.
    Text(&'message str),
    /// A number of four bytes.
    Number(u32),
    /// A number of eight bytes.
    LongNumber(u64),
}

impl<'message> Variant<'message> {
    /// The text that it is.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(self) -> Result<&'message str, BusError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(_) | Self::LongNumber(_) => {
                Err(BusError::Malformed("a value is not the text that is expected"))
            }
        }
    }

    /// The number of four bytes that it is.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(self) -> Result<u32, BusError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(_) | Self::LongNumber(_) => {
                Err(BusError::Malformed("a value is not the number that is expected"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call<'static> {
        Call {
            destination: "org.example",
            path: "/org/example",
            interface: "org.example.Things",
            member: "List",
            arguments: Arguments::List(&["failed", "x"]),
        }
    }

    /// An answer with one structure of a text and a number in a list, in either order of bytes.
    fn answer(big_endian: bool) -> Vec<u8> {
        let number = |value: u32| {
            if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let mut body = Vec::new();
        body.extend_from_slice(&number(16));
        pad(&mut body, 8);
        body.extend_from_slice(&number(5));
        body.extend_from_slice(b"a.b.c\0");
        pad(&mut body, 4);
        body.extend_from_slice(&number(7));
        let mut out = vec![if big_endian { b'B' } else { b'l' }, RETURN, 1, 1];
        out.extend_from_slice(&number(length(body.len())));
        out.extend_from_slice(&number(99));
        out.extend_from_slice(&number(8));
        out.extend_from_slice(&[REPLY_SERIAL, 1, b'u', 0]);
        out.extend_from_slice(&number(3));
        out.extend_from_slice(&body);
        out
    }

    fn things(reply: &Reply) -> Result<Vec<(String, u32)>, BusError> {
        let mut things = Vec::new();
        reply.values().list(8, |entry| {
            entry.align(8)?;
            things.push((entry.text()?.to_owned(), entry.number()?));
            Ok(())
        })?;
        Ok(things)
    }

    #[test]
    fn answers_are_read_in_either_order_of_bytes() {
        for big_endian in [false, true] {
            let message = answer(big_endian);
            let fixed = message.first_chunk().unwrap();
            assert_eq!(length_of(*fixed).unwrap(), message.len());
            let Received::Answer(3, Ok(reply)) = decode(&message).unwrap() else { panic!() };
            assert_eq!(things(&reply).unwrap(), [("a.b.c".to_owned(), 7)]);
        }
    }

    #[test]
    fn a_message_that_is_cut_off_or_changed_is_an_error_or_another_message() {
        let message = answer(false);
        for length in 0..message.len() {
            assert!(decode(&message[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Received::Answer(_, Ok(reply))) = decode(&changed) {
                let _read = things(&reply);
            }
        }
        let mut huge = answer(false);
        huge[7] = 0xff;
        assert!(length_of(*huge.first_chunk().unwrap()).is_err());
    }

    #[test]
    fn a_call_has_the_fields_and_the_padding_that_the_format_wants() {
        let message = encode(&call(), 5);
        assert_eq!(length_of(*message.first_chunk().unwrap()).unwrap(), message.len());
        assert_eq!(message[..4], [b'l', CALL, 0, 1]);
        assert_eq!(message[8..12], 5_u32.to_le_bytes());
        let body = &message[message.len() - 22..];
        assert_eq!(body, b"\x12\0\0\0\x06\0\0\0failed\0\0\x01\0\0\0x\0");
        let has = |part: &[u8]| message.windows(part.len()).any(|window| window == part);
        assert!(has(b"\x01\x01o\0\x0c\0\0\0/org/example\0"));
        assert!(has(b"\x08\x01g\0\x02as\0"));
    }
}
