//! Texts of others inside messages: cleaned, bounded, and escaped for each channel.
//!
//! Labels and annotations may hold anything. What cannot be seen, or changes how what follows is
//! read, does not reach a message.

/// A text in one line, of so many characters at most: nothing in it can begin another header or line.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    clean(text, limit, false)
}

/// A text whose line ends are kept, of so many characters at most.
pub(super) fn paragraph(text: &str, limit: usize) -> String {
    clean(text, limit, true)
}

/// A text within HTML, as the Telegram service reads it.
pub(super) fn html(text: &str) -> String {
    mrkdwn(text).replace('"', "&quot;")
}

/// A text within Slack's markup, where these three characters begin mentions, links and entities.
pub(super) fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn clean(text: &str, limit: usize, keeps_lines: bool) -> String {
    let mut characters = text.chars().filter(|&character| !is_invisible(character));
    let mut output: String = characters
        .by_ref()
        .take(limit)
        .map(|character| match character {
            '\n' if keeps_lines => '\n',
            '\u{2028}' | '\u{2029}' => ' ',
            _ if character.is_control() => ' ',
            _ => character,
        })
        .collect();
    if characters.next().is_some() {
        output.push('…');
    }
    output
}

/// Characters without a form of their own: marks that turn the direction of what follows, and those
/// by which two texts that look alike differ.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_and_cut() {
        let check = |text: &str, line: &str, lines: &str| {
            assert_eq!(one_line(text, 8), line, "{text:?}");
            assert_eq!(paragraph(text, 8), lines, "{text:?}");
        };
        check("plain", "plain", "plain");
        check("12345678", "12345678", "12345678");
        check("123456789", "12345678…", "12345678…");
        check("äöüäöüäöü", "äöüäöüäö…", "äöüäöüäö…");
        check("a\r\nb\0c\u{1b}", "a  b c ", "a \nb c ");
        check("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "abcd", "abcd");
        check("a\u{2028}b\u{85}c", "a b c", "a b c");
        check(&"\u{202e}".repeat(1_000_000), "", "");
    }

    #[test]
    fn markup_of_others_stays_text() {
        assert_eq!(mrkdwn("<!channel> & <b>"), "&lt;!channel&gt; &amp; &lt;b&gt;");
        assert_eq!(html("<a href=\"x\">&amp;"), "&lt;a href=&quot;x&quot;&gt;&amp;amp;");
    }
}
