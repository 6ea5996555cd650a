//! What expressions mean, and which are refused in which words.

use super::*;

#[test]
fn expressions_mean_what_they_mean_in_go() {
    let check = |pattern: &str, text: &str, expect: bool| {
        let regex = compile_anchored(pattern).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(regex.is_match(text), expect, "{pattern} on {text:?}");
    };
    check(r"\Qa.b\E+", "a.bb", true);
    check(r"\Qa.b\E", "axb", false);
    check(r"\Q(", "(", true);
    check("a{,2}", "a{,2}", true);
    check("a{,2}", "aa", false);
    check("{a}", "{a}", true);
    check("a{2}", "aa", true);
    check("a{2,}b{1,2}", "aaabb", true);
    check("a{02}", "a{02}", true);
    check(r"\d+", "12", true);
    check(r"\d", "٣", false);
    check(r"\w+", "a_1", true);
    check(r"\w", "é", false);
    check(r"\W", "é", true);
    check(r"\s", "\u{b}", false);
    check(r"\s", "\u{a0}", false);
    check(r"[\d\s]+", "1 2", true);
    check(r"[\D]", "é", true);
    check(r"[^\w]", "-", true);
    check(r".*\bé.*", "a é", false);
    check(r"a\b.*", "aé", true);
    check(r"a\B.", "ab", true);
    check("[[a]", "[", true);
    check("[a&&b]", "&", true);
    check("[a~~b]+", "a~b", true);
    check("[]a]+", "a]", true);
    check("[^]a]", "b", true);
    check("[a-]", "-", true);
    check("[[:alpha:]_]+", "a_", true);
    check("[[:^digit:]]", "1", false);
    check(r"[\]\-\\^]+", r"]-\^", true);
    check(r"\pN\p{Greek}\p{^Greek}\PN", "1αab", true);
    check(r"\x41\x{1F600}\101\0", "A\u{1f600}A\0", true);
    check(r"\<\>\_\-\ \#", "<>_- #", true);
    check("(?P<n>a)(?<m>b)", "ab", true);
    check("(?i)a(?-i:b)", "Ab", true);
    check("(?i)a(?-i:b)", "AB", false);
    check("(?)a", "a", true);
    check("a.b", "a\nb", true);
    check("(?-s)a.b", "a\nb", false);
    check(r"\Aa\z", "a", true);
    check("a|", "", true);
    check("a # b", "a # b", true);
    check("é+", "éé", true);
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    let check = |pattern: &str, expect: &str| {
        let error = compile_anchored(pattern).map(|_| String::new());
        let error = error.unwrap_or_else(|error| error.to_string());
        assert_eq!(error, format!("error parsing regexp: {expect}"), "{pattern}");
    };
    check("(", "missing closing ): `(`");
    check("a)", "unexpected ): `a)`");
    check("[a", "missing closing ]: `[a`");
    check("*a", "missing argument to repetition operator: `*`");
    check("a|+", "missing argument to repetition operator: `+`");
    check("a**", "invalid nested repetition operator: `**`");
    check("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
    check("a{1001}", "invalid repeat count: `{1001}`");
    check("a{3,2}", "invalid repeat count: `{3,2}`");
    check("[b-a]", "invalid character class range: `b-a`");
    check("[[:foo:]]", "invalid character class range: `[:foo:]`");
    check(r"\C", r"invalid escape sequence: `\C`");
    check(r"\1", r"invalid escape sequence: `\1`");
    check(r"\Z", r"invalid escape sequence: `\Z`");
    check(r"\8", r"invalid escape sequence: `\8`");
    check("a\\", "trailing backslash at end of expression: ``");
    check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    check("(?P<a b>c)", "invalid named capture: `(?P<a b>`");
}
