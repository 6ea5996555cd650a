//! Text to tokens. Where a text cannot be divided, the tokens end with [`Kind::Malformed`].

use super::number::scan_number;
use super::selector::is_choice;
use super::token::{Kind, Sign, Token};
use crate::quote::quoted_character;

/// A text in tokens; the last one is the end of the input, or what could not be read.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) tokens: Vec<Token>,
    /// Why the last token is malformed, and where that was noticed.
    pub(super) failure: Option<(usize, String)>,
}

pub(super) fn tokens(text: &str) -> Tokens {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), parens: 0, mode: Mode::Statement };
    let failure = loop {
        match lexer.next() {
            Ok(true) => {}
            Ok(false) => break None,
            Err(failure) => {
                let end = text.len();
                lexer.tokens.push(Token { kind: Kind::Malformed, start: failure.0, end });
                break Some(failure);
            }
        }
    };
    Tokens { tokens: lexer.tokens, failure }
}

/// What the lexer is within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Statement,
    /// `{…}`, where every word is a label's name.
    Braces,
    /// `[…` up to the first number, as duration expressions have it.
    Duration,
    /// `[5m…`; whether there was a colon.
    Bracket {
        had_colon: bool,
    },
}

type Failure = (usize, String);

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
    mode: Mode,
}

pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

pub(super) fn is_word(character: char) -> bool {
    character == '_' || character.is_ascii_alphanumeric()
}

fn is_alpha(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let start = self.at;
        self.at += length;
        self.tokens.push(Token { kind, start, end: self.at });
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(is_space);
            self.at += rest.len() - trimmed.len();
            // Within brackets there are no comments.
            let in_comment = trimmed.starts_with('#') && self.mode != Mode::Duration;
            if !in_comment {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    /// Reads one token. Returns false after the last one.
    fn next(&mut self) -> Result<bool, Failure> {
        self.skip_blanks();
        match self.mode {
            Mode::Braces => self.in_braces(),
            Mode::Duration => self.in_duration(),
            Mode::Statement | Mode::Bracket { .. } => self.in_statement(),
        }
    }

    fn in_statement(&mut self) -> Result<bool, Failure> {
        let Some(character) = self.peek() else { return self.end() };
        let follows = |next: char| self.second() == Some(next);
        match character {
            ',' => self.push(Kind::Comma, 1),
            '*' => self.push(Kind::Operator(Sign::Multiply), 1),
            '/' => self.push(Kind::Operator(Sign::Divide), 1),
            '%' => self.push(Kind::Operator(Sign::Modulo), 1),
            '+' => self.push(Kind::Operator(Sign::Add), 1),
            '-' => self.push(Kind::Operator(Sign::Subtract), 1),
            '^' => self.push(Kind::Operator(Sign::Power), 1),
            '=' if follows('=') => self.push(Kind::Operator(Sign::Equal), 2),
            '=' if follows('~') => {
                return Err((self.at, "unexpected character after '=': '~'".to_owned()));
            }
            '=' => self.push(Kind::Equal, 1),
            '!' if follows('=') => self.push(Kind::Operator(Sign::NotEqual), 2),
            '!' => return Err(self.after_exclamation("")),
            '<' if follows('=') => self.push(Kind::Operator(Sign::LessOrEqual), 2),
            '<' => self.push(Kind::Operator(Sign::Less), 1),
            '>' if follows('=') => self.push(Kind::Operator(Sign::GreaterOrEqual), 2),
            '>' => self.push(Kind::Operator(Sign::Greater), 1),
            '@' => self.push(Kind::At, 1),
            '"' | '\'' | '`' => self.string(character)?,
            '(' | ')' => self.paren(character)?,
            '{' => {
                self.push(Kind::LeftBrace, 1);
                self.mode = Mode::Braces;
            }
            '[' | ']' => self.bracket(character)?,
            digit if digit.is_ascii_digit() || self.is_fraction(digit) => {
                self.number_or_duration()?;
            }
            letter if is_alpha(letter) || letter == ':' => self.word(letter)?,
            other => {
                let message = format!("unexpected character: {}", quoted_character(other));
                return Err((self.at, message));
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<bool, Failure> {
        if self.parens > 0 {
            return Err((self.at, "unclosed left parenthesis".to_owned()));
        }
        if matches!(self.mode, Mode::Bracket { .. }) {
            return Err((self.at, "unclosed left bracket".to_owned()));
        }
        self.push(Kind::EndOfInput, 0);
        Ok(false)
    }

    fn is_fraction(&self, character: char) -> bool {
        character == '.' && self.second().is_some_and(|next| next.is_ascii_digit())
    }

    fn after_exclamation(&self, place: &str) -> Failure {
        let next = self.second().map_or_else(|| "'\\uffff'".to_owned(), quoted_character);
        (self.at, format!("unexpected character after '!'{place}: {next}"))
    }

    fn paren(&mut self, character: char) -> Result<(), Failure> {
        if character == '(' {
            self.parens += 1;
            self.push(Kind::LeftParen, 1);
            return Ok(());
        }
        match self.parens.checked_sub(1) {
            Some(left) => self.parens = left,
            None => return Err((self.at + 1, "unexpected right parenthesis ')'".to_owned())),
        }
        self.push(Kind::RightParen, 1);
        Ok(())
    }

    fn bracket(&mut self, character: char) -> Result<(), Failure> {
        let is_open = matches!(self.mode, Mode::Bracket { .. });
        match character {
            '[' if is_open => Err((self.at, "unexpected left bracket '['".to_owned())),
            '[' => {
                self.push(Kind::LeftBracket, 1);
                self.mode = Mode::Duration;
                Ok(())
            }
            _ if !is_open => Err((self.at, "unexpected right bracket ']'".to_owned())),
            _ => {
                self.push(Kind::RightBracket, 1);
                self.mode = Mode::Statement;
                Ok(())
            }
        }
    }

    fn word(&mut self, first: char) -> Result<(), Failure> {
        if let Mode::Bracket { had_colon } = self.mode {
            return self.word_in_bracket(first, had_colon);
        }
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c) && c != ':').unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let mut kind = Kind::of_word(word);
        // These are young, so that metrics of that name go on to be found.
        let is_modifier = matches!(kind, Kind::Keyword(keyword) if keyword.is_fill());
        let after = rest.get(end..).unwrap_or_default();
        if is_modifier && !after.trim_start_matches(is_space).starts_with('(') {
            kind = Kind::Identifier;
        }
        self.push(kind, end);
        Ok(())
    }

    fn word_in_bracket(&mut self, first: char, had_colon: bool) -> Result<(), Failure> {
        if first == ':' {
            if had_colon {
                return Err((self.at, "unexpected colon ':'".to_owned()));
            }
            let is_double = self.second() == Some(':');
            let (kind, length) = if is_double { (Kind::DoubleColon, 2) } else { (Kind::Colon, 1) };
            self.push(kind, length);
            self.mode = Mode::Bracket { had_colon: true };
            return Ok(());
        }
        if self.duration_word() {
            return Ok(());
        }
        let first = quoted_character(first);
        Err((self.at, format!("unexpected character: {first}, expected ':'")))
    }

    /// Reads one of the words of duration expressions.
    fn duration_word(&mut self) -> bool {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_alpha(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let kind = Kind::of_word(word);
        let is_known = matches!(kind, Kind::Preprocessor("step" | "range")) || is_choice(word);
        if is_known {
            self.push(kind, end);
        }
        is_known
    }

    fn in_duration(&mut self) -> Result<bool, Failure> {
        let Some(character) = self.peek() else {
            return Err((self.at, "unexpected end of input in duration expression".to_owned()));
        };
        match character {
            ']' => {
                self.push(Kind::RightBracket, 1);
                self.mode = Mode::Statement;
            }
            ':' => {
                let message = "unexpected colon before duration in duration expression";
                return Err((self.at + 1, message.to_owned()));
            }
            '(' | ')' => self.paren(character)?,
            '+' => self.push(Kind::Operator(Sign::Add), 1),
            '-' => self.push(Kind::Operator(Sign::Subtract), 1),
            '*' => self.push(Kind::Operator(Sign::Multiply), 1),
            '/' => self.push(Kind::Operator(Sign::Divide), 1),
            '%' => self.push(Kind::Operator(Sign::Modulo), 1),
            '^' => self.push(Kind::Operator(Sign::Power), 1),
            ',' => self.push(Kind::Comma, 1),
            digit if digit.is_ascii_digit() || self.is_fraction(digit) => {
                self.mode = Mode::Bracket { had_colon: false };
                self.number_or_duration()?;
            }
            letter if is_alpha(letter) && self.duration_word() => {}
            other => {
                let other = quoted_character(other);
                let message = format!("unexpected character in duration expression: {other}");
                return Err((self.at, message));
            }
        }
        Ok(true)
    }

    fn in_braces(&mut self) -> Result<bool, Failure> {
        let Some(character) = self.peek() else {
            return Err((self.at, "unexpected end of input inside braces".to_owned()));
        };
        match character {
            ',' => self.push(Kind::Comma, 1),
            '"' | '\'' | '`' => self.string(character)?,
            '=' if self.second() == Some('~') => self.push(Kind::Matches, 2),
            '=' => self.push(Kind::Equal, 1),
            '!' => match self.second() {
                Some('~') => self.push(Kind::NotMatches, 2),
                Some('=') => self.push(Kind::Operator(Sign::NotEqual), 2),
                _ => return Err(self.after_exclamation(" inside braces")),
            },
            '{' => return Err((self.at, "unexpected left brace '{'".to_owned())),
            '}' => {
                self.push(Kind::RightBrace, 1);
                self.mode = Mode::Statement;
            }
            letter if is_alpha(letter) => {
                let rest = self.rest();
                self.push(Kind::Identifier, rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            }
            other => {
                let other = quoted_character(other);
                return Err((self.at, format!("unexpected character inside braces: {other}")));
            }
        }
        Ok(true)
    }

    fn number_or_duration(&mut self) -> Result<(), Failure> {
        let rest = self.rest();
        let (scanned, is_number) = scan_number(rest);
        if is_number {
            self.push(Kind::Number, scanned);
            return Ok(());
        }
        match duration_end(rest, scanned) {
            Ok(end) => {
                self.push(Kind::Duration, end);
                Ok(())
            }
            Err(end) => {
                let text = crate::quote::quoted(rest.get(..end).unwrap_or(rest));
                Err((self.at, format!("bad number or duration syntax: {text}")))
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Failure> {
        let length = string_length(self.rest(), quote).map_err(|message| (self.at, message))?;
        self.push(Kind::Text, length);
        Ok(())
    }
}

/// Where a duration ends whose first number has been scanned, or up to where it was read when it
/// turned out to be none.
fn duration_end(text: &str, scanned: usize) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|byte| set.contains(byte));
    let mut at = scanned;
    let mut units: &[u8] = b"smhdwy";
    loop {
        if !is(at, units) {
            return Err(at);
        }
        at += 1;
        if is(at, b"s") {
            at += 1;
        }
        if !is(at, b"0123456789") {
            break;
        }
        while is(at, b"0123456789") {
            at += 1;
        }
        units = b"smhdw";
    }
    match text.get(at..).and_then(|rest| rest.chars().next()) {
        Some(next) if is_word(next) => Err(at + next.len_utf8()),
        _ => Ok(at),
    }
}

/// The length of the string literal that the text begins with.
fn string_length(text: &str, quote: char) -> Result<usize, String> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            char::REPLACEMENT_CHARACTER => return Err("invalid UTF-8 rune".to_owned()),
            _ if character == quote => return Ok(at + 1),
            '\n' if quote != '`' => break,
            '\\' if quote != '`' => check_escape(&mut characters, quote)?,
            _ => {}
        }
    }
    Err(match quote {
        '`' => "unterminated raw string".to_owned(),
        _ => "unterminated quoted string".to_owned(),
    })
}

fn check_escape(
    characters: &mut impl Iterator<Item = (usize, char)>,
    quote: char,
) -> Result<(), String> {
    let cut_off = || "escape sequence not terminated".to_owned();
    let (_, kind) = characters.next().ok_or_else(cut_off)?;
    let (digits, radix, largest, first) = match kind {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        _ if kind == quote => return Ok(()),
        '0'..='7' => (2, 8, 255, kind.to_digit(8).unwrap_or(0)),
        'x' => (2, 16, 255, 0),
        'u' => (4, 16, u32::from(char::MAX), 0),
        'U' => (8, 16, u32::from(char::MAX), 0),
        other => return Err(format!("unknown escape sequence {}", code_point(other))),
    };
    let mut code = first;
    for _ in 0..digits {
        let (_, digit) = characters.next().ok_or_else(cut_off)?;
        let value = digit
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(digit)))?;
        code = code.wrapping_mul(radix).wrapping_add(value);
    }
    if code > largest || (0xd800..0xe000).contains(&code) {
        return Err("escape sequence is an invalid Unicode code point".to_owned());
    }
    Ok(())
}

/// A character by its number and, where it can be shown, itself.
fn code_point(character: char) -> String {
    let code = format!("U+{:04X}", u32::from(character));
    if character.is_control() { code } else { format!("{code} '{character}'") }
}
