//! Strings as PromQL writes and reads them, which is as Go does.

use std::fmt::Write;

/// A string in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    quote(text.chars())
}

/// The first characters of a string in double quotes.
pub(crate) fn quoted_start(text: &str, characters: usize) -> String {
    quote(text.chars().take(characters))
}

fn quote(characters: impl Iterator<Item = char>) -> String {
    let mut quoted = String::from('"');
    for character in characters {
        match character {
            '"' => quoted.push_str("\\\""),
            other => push_escaped(&mut quoted, other),
        }
    }
    quoted.push('"');
    quoted
}

/// A character as messages quote it, in single quotes.
pub(crate) fn quoted_character(character: char) -> String {
    let mut quoted = String::from('\'');
    match character {
        '\'' => quoted.push_str("\\'"),
        other => push_escaped(&mut quoted, other),
    }
    quoted.push('\'');
    quoted
}

fn push_escaped(text: &mut String, character: char) {
    let code = u32::from(character);
    let written = match character {
        '\\' => return text.push_str("\\\\"),
        '\u{7}' => return text.push_str("\\a"),
        '\u{8}' => return text.push_str("\\b"),
        '\u{c}' => return text.push_str("\\f"),
        '\n' => return text.push_str("\\n"),
        '\r' => return text.push_str("\\r"),
        '\t' => return text.push_str("\\t"),
        '\u{b}' => return text.push_str("\\v"),
        _ if code < 0x20 || code == 0x7f => write!(text, "\\x{code:02x}"),
        _ if !is_printable(character) && code < 0x1_0000 => write!(text, "\\u{code:04x}"),
        _ if !is_printable(character) => write!(text, "\\U{code:08x}"),
        _ => return text.push(character),
    };
    debug_assert!(written.is_ok(), "a string takes any text");
}

/// Spaces other than the common one are shown by their code.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// The content of a string literal, whose quotes and escapes the lexer has checked. Bytes that
/// escapes make and that are no UTF-8 are replaced, as no label has any.
pub(crate) fn unquoted(literal: &str) -> String {
    let mut characters = literal.chars();
    let quote = characters.next().unwrap_or('"');
    let inner = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
    if quote == '`' {
        return inner.to_owned();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => push_unescaped(&mut bytes, &mut characters),
            other => push(&mut bytes, other),
        }
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_unescaped(bytes: &mut Vec<u8>, characters: &mut std::str::Chars<'_>) {
    let Some(character) = characters.next() else { return };
    let mut code = |digits: usize, radix: u32, first: u32| {
        characters.by_ref().take(digits).fold(first, |code, digit| {
            code.wrapping_mul(radix).wrapping_add(digit.to_digit(radix).unwrap_or(0))
        })
    };
    match character {
        'a' => bytes.push(7),
        'b' => bytes.push(8),
        'f' => bytes.push(12),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(11),
        'x' => bytes.push(u8::try_from(code(2, 16, 0)).unwrap_or(b'?')),
        'u' => push(bytes, char::from_u32(code(4, 16, 0)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        'U' => push(bytes, char::from_u32(code(8, 16, 0)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        octal @ '0'..='7' => {
            let first = octal.to_digit(8).unwrap_or(0);
            bytes.push(u8::try_from(code(2, 8, first)).unwrap_or(b'?'));
        }
        other => push(bytes, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_and_read_as_go_does() {
        let check = |text: &str, expect: &str| {
            assert_eq!(quoted(text), expect);
            assert_eq!(unquoted(expect), text, "{expect}");
        };
        check("plain", r#""plain""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#);
        check("\u{1}\u{7f}\u{a0}", r#""\x01\x7f\u00a0""#);
        check("é€\u{1f600}", "\"é€\u{1f600}\"");
    }

    #[test]
    fn every_escape_is_read() {
        let check = |literal: &str, expect: &str| assert_eq!(unquoted(literal), expect);
        check(r"'a\'b'", "a'b");
        check(r"`a\nb`", r"a\nb");
        check(r#""\x41\101\u00e9\U0001F600""#, "AAé\u{1f600}");
        check(r#""\xc3\xa9""#, "é");
        check(r#""\xff""#, "\u{fffd}");
        assert_eq!(quoted_start("abcdef", 3), "\"abc\"");
        assert_eq!(quoted_character('\''), r"'\''");
        assert_eq!(quoted_character('é'), "'é'");
    }
}
