//! A look at the text before it is parsed: what would exhaust the stack is refused, and what the
//! grammar does not know is named.

use super::ParseError;

/// Longest text accepted, in bytes. The longest dashboard queries in the wild have a few KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of brackets. Every level is a few stack frames here and in the parser.
const MAX_DEPTH: usize = 100;
/// Most operators. A chain of operators nests as deep as it is long.
const MAX_OPERATORS: usize = 400;

const EXPERIMENTAL: &str = "experimental";

pub(super) fn check(text: &str) -> Result<(), ParseError> {
    within("bytes", text.len(), MAX_BYTES)?;
    let code = without_strings(text)?;
    check_size(&code)?;
    check_words(&code)?;
    check_durations(&code)
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

/// Modifiers of range selectors are always behind a bracket; as names of metrics and labels the
/// same words are fine.
fn check_words(code: &str) -> Result<(), ParseError> {
    for rest in code.split(']').skip(1) {
        let word = words(rest).next().filter(|word| rest.trim_start().starts_with(word));
        if let Some(word @ ("smoothed" | "anchored")) = word {
            let what = format!("modifier \"{word}\"");
            return Err(ParseError::Unsupported { what, reason: EXPERIMENTAL });
        }
    }
    Ok(())
}

/// Durations may be computed in newer grammars; here they are plain.
fn check_durations(code: &str) -> Result<(), ParseError> {
    for rest in code.split('[').skip(1) {
        let inside = rest.split(']').next().unwrap_or_default();
        if inside.contains(['+', '-', '*', '/', '%', '^', '(']) {
            let what = "a duration expression".to_owned();
            return Err(ParseError::Unsupported { what, reason: EXPERIMENTAL });
        }
        let digits = inside.trim_start_matches("0x").chars();
        if digits.clone().any(|digit| digit == 'e' || digit == 'E') && !inside.contains("0x") {
            return Err(ParseError::Invalid(format!("not a valid duration string: {inside:?}")));
        }
    }
    Ok(())
}
