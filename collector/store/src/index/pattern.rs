//! What can be told of a regular expression without running it.

/// The kinds of expressions that are answered otherwise. All are anchored at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// One of these texts, as in `web1|web2`.
    Texts(Vec<String>),
    /// This beginning and at least so many bytes more, as in `web.*` and `web.+`.
    Prefix { prefix: String, rest: usize },
    /// Anything else.
    Other,
}

impl Pattern {
    pub(super) fn of(expression: &str) -> Self {
        let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let inner = inner.map(|inner| inner.strip_prefix("?:").unwrap_or(inner));
        if let Some(texts) = texts_of(inner.unwrap_or(expression)) {
            return Self::Texts(texts);
        }
        for (suffix, rest) in [(".*", 0), (".+", 1)] {
            if let Some([prefix]) = expression.strip_suffix(suffix).and_then(texts_of).as_deref() {
                return Self::Prefix { prefix: prefix.clone(), rest };
            }
        }
        Self::Other
    }
}

/// The texts of an alternation of nothing but texts.
fn texts_of(expression: &str) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        let text = texts.last_mut()?;
        match character {
            '|' => texts.push(String::new()),
            // A letter or digit after it has a meaning of its own, and these two stand for borders of words.
            '\\' => text.push(
                characters
                    .next()
                    .filter(|next| next.is_ascii_punctuation() && !matches!(next, '<' | '>'))?,
            ),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => text.push(other),
        }
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_and_prefixes_are_told() {
        let check = |expression: &str, expect: Pattern| {
            assert_eq!(Pattern::of(expression), expect, "{expression}");
        };
        let texts =
            |texts: &[&str]| Pattern::Texts(texts.iter().map(|one| (*one).into()).collect());
        let prefix = |prefix: &str, rest| Pattern::Prefix { prefix: prefix.into(), rest };
        check("", texts(&[""]));
        check("web1", texts(&["web1"]));
        check("web1|db-2:9100|", texts(&["web1", "db-2:9100", ""]));
        check(r"(web1\.example\.org|ü\|x)", texts(&["web1.example.org", "ü|x"]));
        check("(?:a|b)", texts(&["a", "b"]));
        check("web.*", prefix("web", 0));
        check(r"a\.b.+", prefix("a.b", 1));
        check(".*", prefix("", 0));
        for other in [
            "(a)|(b)", "(a|b", "a.b", "a+", "(?i:a)", "(?i)a", r"a\d", r"\Qa.b\E", r"a\", "[ab]",
            "a{2}", "^a$", "a|b.*", ".*a", "(a|b).*", "a.*.+", r"a\.*", r"\<a",
        ] {
            check(other, Pattern::Other);
        }
    }
}
