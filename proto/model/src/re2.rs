//! Regular expressions in RE2's dialect, as Go and with it Prometheus have them.
//!
//! The `regex` crate has the same engine and nearly the same syntax. What differs is translated:
//! `\d`, `\s`, `\w` and `\b` know ASCII only, `\Q…\E` quotes, a brace that begins no repetition
//! stands for itself, octal escapes, and a character class holds no classes but named ones. What
//! RE2 does not have is refused, in the words of Go.

use regex::Regex;
use thiserror::Error;

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("error parsing regexp: {problem}: `{place}`")]
pub struct PatternError {
    /// What is wrong, as Go says it.
    pub problem: String,
    /// The part of the expression that is wrong.
    pub place: String,
}

/// Compiles an expression that must match all of a text; a dot matches every character.
///
/// # Errors
/// When it is none.
pub fn compile_anchored(pattern: &str) -> Result<Regex, PatternError> {
    compile(pattern, &format!("^(?s:{})$", translate(pattern)?))
}

/// Compiles an expression that may match anywhere in a text.
///
/// # Errors
/// When it is none.
pub fn compile_pattern(pattern: &str) -> Result<Regex, PatternError> {
    compile(pattern, &translate(pattern)?)
}

fn compile(pattern: &str, translated: &str) -> Result<Regex, PatternError> {
    Regex::new(translated).map_err(|error| {
        let problem = match error {
            regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        };
        PatternError { problem, place: pattern.to_owned() }
    })
}

/// The ASCII classes of Perl, without brackets.
const DIGITS: &str = "0-9";
const SPACES: &str = r"\t\n\f\r ";
const WORDS: &str = "0-9A-Za-z_";
/// Most repetitions that are accepted.
const MAX_REPETITIONS: u32 = 1_000;

struct Translator<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    depth: usize,
    /// Whether there is something that a repetition may repeat.
    has_operand: bool,
    /// Where the repetition began that has just been read.
    repetition: Option<usize>,
}

fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translator = Translator {
        pattern,
        at: 0,
        out: String::with_capacity(pattern.len()),
        depth: 0,
        has_operand: false,
        repetition: None,
    };
    while let Some(character) = translator.peek() {
        translator.step(character)?;
    }
    match translator.depth {
        0 => Ok(translator.out),
        _ => Err(problem("missing closing )", pattern)),
    }
}

fn problem(what: &str, place: &str) -> PatternError {
    PatternError { problem: what.to_owned(), place: place.to_owned() }
}

impl<'a> Translator<'a> {
    fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn since(&self, start: usize) -> &'a str {
        self.pattern.get(start..self.at).unwrap_or_default()
    }

    /// Adds what stands for one character or another single thing.
    fn operand(&mut self, translated: &str) {
        self.out.push_str(translated);
        self.has_operand = true;
        self.repetition = None;
    }

    fn literal(&mut self, character: char) {
        let escaped = regex::escape(character.encode_utf8(&mut [0; 4]));
        self.operand(&escaped);
    }

    fn step(&mut self, character: char) -> Result<(), PatternError> {
        match character {
            '(' => self.group(),
            ')' => {
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .ok_or_else(|| problem("unexpected )", self.pattern))?;
                self.at += 1;
                self.operand(")");
                Ok(())
            }
            '|' => {
                self.at += 1;
                self.operand("|");
                self.has_operand = false;
                Ok(())
            }
            '*' | '+' | '?' => {
                let start = self.at;
                self.at += 1;
                self.repeat(start, character.encode_utf8(&mut [0; 4]))
            }
            '{' => self.brace(),
            '[' => self.class(),
            '\\' => self.escape(),
            '.' | '^' | '$' => {
                self.at += 1;
                self.operand(character.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            other => {
                self.at += other.len_utf8();
                self.literal(other);
                Ok(())
            }
        }
    }

    fn repeat(&mut self, start: usize, translated: &str) -> Result<(), PatternError> {
        if !self.has_operand {
            return Err(problem("missing argument to repetition operator", self.since(start)));
        }
        self.out.push_str(translated);
        if self.peek() == Some('?') {
            self.at += 1;
            self.out.push('?');
        }
        if let Some(before) = self.repetition {
            return Err(problem("invalid nested repetition operator", self.since(before)));
        }
        self.repetition = Some(start);
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`; any other brace stands for itself.
    fn brace(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        let Some((length, least, most)) = repetition(self.rest()) else {
            self.at += 1;
            self.literal('{');
            return Ok(());
        };
        self.at += length;
        let is_wrong = [least, most].into_iter().flatten().any(|count| count > MAX_REPETITIONS);
        if is_wrong || least.zip(most).is_some_and(|(least, most)| least > most) {
            return Err(problem("invalid repeat count", self.since(start)));
        }
        self.repeat(start, self.since(start))
    }

    fn group(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        self.at += 1;
        if self.peek() != Some('?') {
            return self.open("(");
        }
        self.at += 1;
        let rest = self.rest();
        if let Some(named) = rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<')) {
            let end = named.find('>').ok_or_else(|| problem("invalid named capture", rest))?;
            let (name, _) = named.split_at(end);
            self.at += rest.len() - named.len() + end + 1;
            let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(problem("invalid named capture", self.since(start)));
            }
            return self.open(&format!("(?P<{name}>"));
        }
        self.flags(start)
    }

    fn open(&mut self, translated: &str) -> Result<(), PatternError> {
        self.depth += 1;
        self.operand(translated);
        self.has_operand = false;
        Ok(())
    }

    /// `(?i)`, `(?s-m:` and their like.
    fn flags(&mut self, start: usize) -> Result<(), PatternError> {
        let (mut has_flag, mut has_minus) = (false, false);
        while let Some(character) = self.next() {
            match character {
                'i' | 'm' | 's' | 'U' => has_flag = true,
                '-' if !has_minus => {
                    has_minus = true;
                    has_flag = false;
                }
                ':' | ')' if !has_minus || has_flag => {
                    let text = self.since(start);
                    if character == ':' {
                        return self.open(text);
                    }
                    if text != "(?)" {
                        self.out.push_str(text);
                    }
                    self.repetition = None;
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(problem("invalid or unsupported Perl syntax", self.since(start)))
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        self.at += 1;
        let Some(character) = self.peek() else {
            return Err(problem("trailing backslash at end of expression", ""));
        };
        let simple = match character {
            'A' => r"\A",
            'z' => r"\z",
            'b' => r"(?-u:\b)",
            'B' => r"(?-u:\B)",
            'Q' => {
                self.at += 1;
                self.quotation();
                return Ok(());
            }
            _ => {
                self.at = start;
                return match self.perl_class(true)? {
                    Some(class) => {
                        self.operand(&class);
                        Ok(())
                    }
                    None => {
                        let character = self.escaped()?;
                        self.literal(character);
                        Ok(())
                    }
                };
            }
        };
        self.at += 1;
        self.operand(simple);
        Ok(())
    }

    /// `\Q…\E`, whose end may be missing.
    fn quotation(&mut self) {
        let rest = self.rest();
        let (quoted, length) = match rest.find(r"\E") {
            Some(end) => (rest.get(..end).unwrap_or_default(), end + 2),
            None => (rest, rest.len()),
        };
        quoted.chars().for_each(|character| self.literal(character));
        self.at += length;
    }

    /// `\d`, `\S`, `\pL`, `\P{Greek}` and their like, as a class of its own or as part of one.
    fn perl_class(&mut self, with_brackets: bool) -> Result<Option<String>, PatternError> {
        let start = self.at;
        let kind = self.rest().chars().nth(1).unwrap_or_default();
        let content = match kind {
            'd' | 'D' => DIGITS,
            's' | 'S' => SPACES,
            'w' | 'W' => WORDS,
            'p' | 'P' => return self.unicode_class(start, kind).map(Some),
            _ => return Ok(None),
        };
        self.at += 2;
        Ok(Some(match (kind.is_ascii_uppercase(), with_brackets) {
            (true, _) => format!("[^{content}]"),
            (false, true) => format!("[{content}]"),
            (false, false) => content.to_owned(),
        }))
    }

    fn unicode_class(&mut self, start: usize, kind: char) -> Result<String, PatternError> {
        self.at += 2;
        let mut is_negated = kind == 'P';
        let name = match self.next() {
            Some('{') => {
                let rest = self.rest();
                let end = rest.find('}');
                let end = end.ok_or_else(|| problem("invalid character class range", rest))?;
                self.at += end + 1;
                let name = rest.get(..end).unwrap_or_default();
                is_negated ^= name.starts_with('^');
                name.trim_start_matches('^').to_owned()
            }
            Some(letter) => letter.to_string(),
            None => String::new(),
        };
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(problem("invalid character class range", self.since(start)));
        }
        let letter = if is_negated { 'P' } else { 'p' };
        Ok(format!("\\{letter}{{{name}}}"))
    }

    /// The character that an escape stands for.
    fn escaped(&mut self) -> Result<char, PatternError> {
        let start = self.at;
        self.at += 1;
        let Some(character) = self.next() else {
            return Err(problem("trailing backslash at end of expression", ""));
        };
        let is_octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
        let code = match character {
            'a' => Some(7),
            'f' => Some(12),
            't' => Some(9),
            'n' => Some(10),
            'r' => Some(13),
            'v' => Some(11),
            'x' => self.hexadecimal(),
            // One digit alone would be a reference to a group.
            '0' => Some(self.octal(character)),
            '1'..='7' if is_octal(self.peek()) => Some(self.octal(character)),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(u32::from(other)),
            _ => None,
        };
        code.and_then(char::from_u32)
            .ok_or_else(|| problem("invalid escape sequence", self.since(start)))
    }

    fn octal(&mut self, first: char) -> u32 {
        let mut code = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
            self.at += 1;
            code = code * 8 + digit;
        }
        code
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        if self.peek() == Some('{') {
            let inner = self.rest().get(1..)?;
            let end = inner.find('}')?;
            self.at += end + 2;
            let digits = inner.get(..end)?;
            let is_number = digits.chars().all(|digit| digit.is_ascii_hexdigit());
            return u32::from_str_radix(digits, 16).ok().filter(|_| is_number);
        }
        let mut digit = || self.next()?.to_digit(16);
        Some(digit()? * 16 + digit()?)
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        self.at += 1;
        let mut class = String::from("[");
        if self.peek() == Some('^') {
            self.at += 1;
            class.push('^');
        }
        let mut is_first = true;
        loop {
            match self.peek() {
                Some(']') if !is_first => break,
                Some(_) => self.class_item(start, &mut class)?,
                None => {
                    let whole = self.pattern.get(start..).unwrap_or_default();
                    return Err(problem("missing closing ]", whole));
                }
            }
            is_first = false;
        }
        self.at += 1;
        class.push(']');
        self.operand(&class);
        Ok(())
    }

    fn class_item(&mut self, start: usize, class: &mut String) -> Result<(), PatternError> {
        let rest = self.rest();
        if let Some(named) = rest.strip_prefix("[:").and_then(|inner| inner.find(":]")) {
            let text = rest.get(..named + 4).unwrap_or_default();
            self.at += text.len();
            let name = text.trim_matches(|c| "[:^]".contains(c));
            if !NAMED_CLASSES.contains(&name) {
                return Err(problem("invalid character class range", text));
            }
            class.push_str(text);
            return Ok(());
        }
        if rest.starts_with('\\')
            && let Some(inner) = self.perl_class(false)?
        {
            class.push_str(&inner);
            return Ok(());
        }
        let item = self.at;
        let low = self.class_character(start)?;
        push_in_class(class, low);
        let mut follow = self.rest().chars();
        if follow.next() == Some('-') && follow.next().is_some_and(|next| next != ']') {
            self.at += 1;
            let high = self.class_character(start)?;
            if high < low {
                return Err(problem("invalid character class range", self.since(item)));
            }
            class.push('-');
            push_in_class(class, high);
        }
        Ok(())
    }

    fn class_character(&mut self, start: usize) -> Result<char, PatternError> {
        match self.peek() {
            Some('\\') => self.escaped(),
            Some(other) => {
                self.at += other.len_utf8();
                Ok(other)
            }
            None => {
                let whole = self.pattern.get(start..).unwrap_or_default();
                Err(problem("missing closing ]", whole))
            }
        }
    }
}

/// The names that stand in `[:…:]`.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A character by its number, so that none has a meaning of its own.
fn push_in_class(class: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        class.push(character);
    } else {
        class.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
    }
}

/// The length of a counted repetition at the start of a text, and its counts. A count too large to
/// be read is one too large to be accepted.
fn repetition(text: &str) -> Option<(usize, Option<u32>, Option<u32>)> {
    let end = text.find('}')?;
    let inner = text.get(1..end)?;
    let (least, most) = match inner.split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (inner, None),
    };
    let count = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = digits.len() == 1 || !digits.starts_with('0');
        (is_number && is_plain).then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let least = count(least)?;
    let most = match most {
        None | Some("") => None,
        Some(digits) => Some(count(digits)?),
    };
    Some((end + 1, Some(least), most))
}

#[cfg(test)]
mod tests;
