//! Matchers as Alertmanager's configuration writes them: `severity="critical"`, `team=~"a|b"`.

use thiserror::Error;
use upkeep_model::{MatchOperator, Matcher};

/// A text is no list of matchers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a matcher such as severity=\"critical\": {reason}")]
pub struct MatcherSyntaxError {
    text: String,
    reason: String,
}

/// Reads matchers, separated by commas, with or without braces around them.
///
/// # Errors
/// When the text is anything else, or a regular expression in it cannot be compiled.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, MatcherSyntaxError> {
    let inner = text.trim();
    let inner = match (inner.strip_prefix('{'), inner.strip_suffix('}')) {
        (Some(rest), Some(_)) => rest.strip_suffix('}').unwrap_or(rest),
        (None, None) => inner,
        _ => return Err(fault(text, "a brace has no partner")),
    };
    let mut matchers = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (matcher, after) = one(rest).map_err(|reason| fault(text, &reason))?;
        matchers.push(matcher);
        rest = after.trim_start();
        if !rest.is_empty() {
            rest = rest
                .strip_prefix(',')
                .ok_or_else(|| fault(text, "a comma is missing between two matchers"))?
                .trim_start();
        }
    }
    if matchers.is_empty() {
        return Err(fault(text, "it is empty"));
    }
    Ok(matchers)
}

fn fault(text: &str, reason: &str) -> MatcherSyntaxError {
    MatcherSyntaxError { text: text.to_owned(), reason: reason.to_owned() }
}

/// The first matcher, and what follows it.
fn one(text: &str) -> Result<(Matcher, &str), String> {
    let (name, rest) = word(text, |character| !matches!(character, '=' | '!' | '~'))?;
    let (operator, rest) = operator(rest.trim_start())?;
    let (value, rest) = word(rest.trim_start(), |character| character != ',')?;
    if name.is_empty() {
        return Err("the label's name is missing".to_owned());
    }
    let matcher = Matcher::new(name, operator, value).map_err(|error| error.to_string())?;
    Ok((matcher, rest))
}

fn operator(text: &str) -> Result<(MatchOperator, &str), String> {
    const OPERATORS: [(&str, MatchOperator); 4] = [
        ("=~", MatchOperator::Matches),
        ("!~", MatchOperator::NotMatches),
        ("!=", MatchOperator::NotEqual),
        ("=", MatchOperator::Equal),
    ];
    OPERATORS
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, text.strip_prefix(sign)?)))
        .ok_or_else(|| "one of = != =~ !~ is missing".to_owned())
}

/// A quoted text, or one that goes on while its characters belong.
fn word(text: &str, belongs: impl Fn(char) -> bool) -> Result<(String, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquoted(quoted);
    }
    let end = text.find(|character| !belongs(character)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if word.contains(['"', '{', '}']) {
        return Err(format!("`{}` must be in quotes", word.trim()));
    }
    Ok((word.trim().to_owned(), rest))
}

/// What stands before the closing quote, escapes resolved, and what follows it.
fn unquoted(text: &str) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((word, text.get(at + 1..).unwrap_or_default())),
            '\\' => match characters.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, 't')) => word.push('\t'),
                Some((_, escaped @ ('"' | '\\'))) => word.push(escaped),
                // Regular expressions are full of backslashes that mean themselves.
                Some((_, other)) => word.extend(['\\', other]),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_read_as_alertmanager_reads_them() {
        let check = |text: &str, expect: &[&str]| {
            let matchers = parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(matchers.iter().map(Matcher::to_string).collect::<Vec<_>>(), expect);
        };
        check("severity=critical", &["severity=\"critical\""]);
        check("severity = \"critical\"", &["severity=\"critical\""]);
        check("{team=~\"a|b\", env!=prod}", &["team=~\"a|b\"", "env!=\"prod\""]);
        check("a!~\"x,y\",b=\"\"", &["a!~\"x,y\"", "b=\"\""]);
        check("\"ins-tance\"=\"é\\\"\"", &["ins-tance=\"é\\\"\""]);
        check("path=~\"/a\\.b\"", &["path=~\"/a\\\\.b\""]);
        check("a=", &["a=\"\""]);
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        let check = |text: &str, reason: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check("", "it is empty");
        check("{}", "it is empty");
        check("severity", "one of = != =~ !~ is missing");
        check("=x", "the label's name is missing");
        check("a=\"b", "a quote is not closed");
        check("a=\"b\" c=\"d\"", "a comma is missing");
        check("{a=b", "a brace has no partner");
        check("a=~\"(\"", "matcher a: ");
    }
}
