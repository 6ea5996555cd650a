//! A look at the text around the parser: before, at what would exhaust the stack; after it has
//! refused a text, at what feature it does not know.

use super::ParseError;

/// Longest text accepted, in bytes. The longest dashboard queries in the wild have a few KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of brackets. Every level is a few stack frames here and in the parser.
const MAX_DEPTH: usize = 100;
/// Most operators. A chain of operators nests as deep as it is long.
const MAX_OPERATORS: usize = 400;

pub(super) fn check(text: &str) -> Result<(), ParseError> {
    within("bytes", text.len(), MAX_BYTES)?;
    let code = without_strings(text)?;
    check_size(&code)?;
    check_durations(&code.to_lowercase())
}

fn within(what: &str, number: usize, limit: usize) -> Result<(), ParseError> {
    if number > limit {
        return Err(ParseError::TooLarge { what: format!("{number} {what}"), limit });
    }
    Ok(())
}

/// The text with strings and comments emptied, so that what is left is code.
fn without_strings(text: &str) -> Result<String, ParseError> {
    let mut code = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\'' | '`' => {
                code.push(character);
                skip_string(character, &mut characters)?;
                code.push(character);
            }
            '#' => {
                characters.by_ref().find(|&next| next == '\n');
                code.push('\n');
            }
            other => code.push(other),
        }
    }
    Ok(code)
}

fn skip_string(quote: char, characters: &mut impl Iterator<Item = char>) -> Result<(), ParseError> {
    while let Some(character) = characters.next() {
        if character == quote {
            break;
        }
        if character == '\\' && quote != '`' {
            match characters.next() {
                Some(escaped) if !escaped.is_ascii() => {
                    let message = format!("unknown escape sequence '\\{escaped}'");
                    return Err(ParseError::Invalid(message));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn check_size(code: &str) -> Result<(), ParseError> {
    let (mut depth, mut deepest, mut operators) = (0_usize, 0, 0);
    for character in code.chars() {
        match character {
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' => operators += 1,
            _ => {}
        }
    }
    let is_operator =
        |word: &&str| ["and", "or", "unless", "atan2"].contains(&word.to_lowercase().as_str());
    operators += words(code).filter(is_operator).count();
    within("nested brackets", deepest, MAX_DEPTH)?;
    within("operators", operators, MAX_OPERATORS)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !(character.is_alphanumeric() || "_:".contains(character)))
        .filter(|word| !word.is_empty())
}

/// Longest duration that may be written as a plain number, in seconds: some 30,000 years. The
/// parser converts such numbers without looking.
const MAX_SECONDS: f64 = 1e12;

fn check_durations(code: &str) -> Result<(), ParseError> {
    let in_ranges = in_brackets(code).flat_map(|inside| inside.split(':'));
    let in_offsets = code.split("offset").skip(1).map(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        rest.split(|c: char| !c.is_alphanumeric() && c != '.').next().unwrap_or_default()
    });
    for text in in_ranges.chain(in_offsets).map(str::trim) {
        let seconds = text.parse::<f64>();
        if seconds.is_ok_and(|seconds| seconds.is_nan() || seconds.abs() > MAX_SECONDS) {
            return Err(ParseError::Invalid(format!("duration out of range: {text}")));
        }
    }
    Ok(())
}

fn in_brackets(code: &str) -> impl Iterator<Item = &str> {
    code.split('[').skip(1).map(|rest| rest.split(']').next().unwrap_or_default())
}

/// Names the experimental feature that a text uses which the parser has refused.
pub(super) fn refused_feature(text: &str) -> Option<ParseError> {
    let code = without_strings(text).ok()?.to_lowercase();
    let named = |what: &str| {
        Some(ParseError::Unsupported { what: what.to_owned(), reason: "experimental" })
    };
    let mut before = "";
    for word in words(&code) {
        match (before, word) {
            (_, "smoothed") => return named("modifier \"smoothed\""),
            (_, "anchored") => return named("modifier \"anchored\""),
            (_, "info") if code.contains("info(") => return named("function \"info\""),
            ("offset", "step" | "range" | "min_of" | "max_of") => {
                return named("a duration expression");
            }
            _ => before = word,
        }
    }
    let computed = |inside: &str| inside.contains(['+', '-', '*', '/', '%', '^', '(']);
    let offsets = code.split("offset").skip(1).map(str::trim_start);
    let in_offset = offsets.into_iter().any(|rest| {
        rest.starts_with('(') || rest.trim_start_matches(['-', '+', ' ']).starts_with('(')
    });
    if in_brackets(&code).any(computed) || in_offset {
        return named("a duration expression");
    }
    None
}
