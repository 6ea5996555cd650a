//! Prometheus text, version 0.0.4, as other programs write it.

use std::collections::HashMap;

use thiserror::Error;
use upkeep_model::{is_label_name, is_metric_name};

use super::number::Number;

/// Metrics of one name, with what the text says about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, without the suffixes of a summary's or histogram's parts.
    pub name: String,
    /// What they say; `None` if the text does not tell.
    pub help: Option<String>,
    /// What they are.
    pub kind: FamilyKind,
    /// Their samples in the order of the text; never none.
    pub samples: Vec<ParsedSample>,
}

/// What the metrics of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Numbers that only grow.
    Counter,
    /// Numbers that go up and down.
    Gauge,
    /// Counts in buckets, their sum and number.
    Histogram,
    /// Quantiles, their sum and number.
    Summary,
    /// The text does not tell.
    Untyped,
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedSample {
    /// The name as it stands there, with the suffix of a part.
    pub name: String,
    /// The labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// The time that it is of, in milliseconds since 1970, where there is one.
    pub timestamp_ms: Option<i64>,
    /// The line that it stands in, counted from 1.
    pub line: usize,
}

/// Why a text cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: String,
}

/// Reads a text. Anything that is wrong makes the whole of it void, since whoever writes a wrong
/// line may have meant the others otherwise, too.
///
/// # Errors
/// The first line that is not in the format, with what is wrong.
pub fn parse(text: &str) -> Result<Vec<Family>, ParseError> {
    let mut families = Families::default();
    let mut rest = text;
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let error = |fault| ParseError { line, fault };
        let Some((content, after)) = rest.split_once('\n') else {
            return Err(error("it ends within the line".to_owned()));
        };
        families.take(line, content.trim_matches(BLANKS)).map_err(error)?;
        rest = after;
    }
    families.list.retain(|family| !family.samples.is_empty());
    Ok(families.list)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The families in the order of their appearance, and where each is.
#[derive(Default)]
struct Families {
    list: Vec<Family>,
    places: HashMap<String, usize>,
    /// The families of which the text told the kind.
    typed: Vec<bool>,
}

impl Families {
    fn take(&mut self, line: usize, content: &str) -> Result<(), String> {
        match content.strip_prefix('#') {
            Some(comment) => self.take_comment(comment.trim_start_matches(BLANKS)),
            None if content.is_empty() => Ok(()),
            None => self.take_sample(line, content),
        }
    }

    /// Takes `HELP name text` and `TYPE name kind`; every other comment means nothing.
    fn take_comment(&mut self, comment: &str) -> Result<(), String> {
        let (keyword, rest) = word(comment);
        if !["HELP", "TYPE"].contains(&keyword) || rest.is_empty() {
            return Ok(());
        }
        let (name, rest) = word(rest);
        if !is_metric_name(name) {
            return Err(format!("{name:?} is not a metric's name"));
        }
        if rest.is_empty() {
            return Ok(());
        }
        let place = self.place(name);
        let Some(family) = self.list.get_mut(place) else { return Ok(()) };
        if keyword == "HELP" {
            let help = unescape(rest, false)?;
            return match family.help.replace(help) {
                None => Ok(()),
                Some(_) => Err(format!("{name} has a second HELP")),
            };
        }
        let Some(typed) = self.typed.get_mut(place) else { return Ok(()) };
        if std::mem::replace(typed, true) || !family.samples.is_empty() {
            return Err(format!("{name} has a second TYPE, or one after its values"));
        }
        family.kind = kind(rest).ok_or_else(|| format!("{rest:?} is not a type"))?;
        Ok(())
    }

    fn take_sample(&mut self, line: usize, content: &str) -> Result<(), String> {
        let end = content.find(|letter| BLANKS.contains(&letter) || letter == '{');
        let (name, rest) = content.split_at(end.unwrap_or(content.len()));
        if !is_metric_name(name) {
            return Err(format!("{name:?} is not a metric's name"));
        }
        let rest = rest.trim_start_matches(BLANKS);
        let (mut labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let (value, rest) = word(rest.trim_start_matches(BLANKS));
        let value = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        let timestamp_ms = match rest {
            "" => None,
            time => Some(time.parse().map_err(|_| format!("{time:?} is not a time"))?),
        };
        let place = self.place_of_sample(name);
        let Some(family) = self.list.get_mut(place) else { return Ok(()) };
        normalize(family, name, &mut labels)?;
        labels.sort();
        let name = name.to_owned();
        family.samples.push(ParsedSample { name, labels, value, timestamp_ms, line });
        Ok(())
    }

    /// The family of a name, new if there is none yet.
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.list.len();
        self.places.insert(name.to_owned(), place);
        self.typed.push(false);
        self.list.push(Family {
            name: name.to_owned(),
            help: None,
            kind: FamilyKind::Untyped,
            samples: Vec::new(),
        });
        place
    }

    /// The family of a sample's name: the part of a summary or histogram belongs to it.
    fn place_of_sample(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        for (suffix, kinds) in PARTS {
            let whole = name.strip_suffix(suffix).and_then(|whole| self.places.get(whole));
            if let Some(place) = whole
                && self.list.get(*place).is_some_and(|family| kinds.contains(&family.kind))
            {
                return *place;
            }
        }
        self.place(name)
    }
}

/// The suffixes of parts, and what has such parts.
const PARTS: [(&str, &[FamilyKind]); 3] = [
    ("_sum", &[FamilyKind::Summary, FamilyKind::Histogram]),
    ("_count", &[FamilyKind::Summary, FamilyKind::Histogram]),
    ("_bucket", &[FamilyKind::Histogram]),
];

/// Writes the label of a quantile or bucket as numbers are written; it must be there.
fn normalize(family: &Family, name: &str, labels: &mut [(String, String)]) -> Result<(), String> {
    let label = match family.kind {
        FamilyKind::Summary if name == family.name => "quantile",
        FamilyKind::Histogram if name.ends_with("_bucket") => "le",
        FamilyKind::Histogram if name == family.name => {
            return Err(format!("{name} is a histogram, which has parts only"));
        }
        _ => return Ok(()),
    };
    let Some((_, value)) = labels.iter_mut().find(|(name, _)| name == label) else {
        return Err(format!("{name} has no label {label}"));
    };
    match value.parse::<f64>() {
        Ok(number) if !number.is_nan() => {
            *value = Number(number).to_string();
            Ok(())
        }
        _ => Err(format!("{label}={value:?} is not a number")),
    }
}

fn kind(text: &str) -> Option<FamilyKind> {
    const KINDS: [(&str, FamilyKind); 5] = [
        ("counter", FamilyKind::Counter),
        ("gauge", FamilyKind::Gauge),
        ("histogram", FamilyKind::Histogram),
        ("summary", FamilyKind::Summary),
        ("untyped", FamilyKind::Untyped),
    ];
    KINDS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
}

/// The first word and what follows the blanks after it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(BLANKS).unwrap_or((text, ""));
    (word, rest.trim_start_matches(BLANKS))
}

/// Labels with what follows them.
type Labels<'text> = (Vec<(String, String)>, &'text str);

/// Reads `name="value",…}`; a comma may stand before the brace.
fn labels(mut text: &str) -> Result<Labels<'_>, String> {
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        text = text.trim_start_matches(BLANKS);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let Some((name, rest)) = text.split_once('=') else {
            return Err("a label without a value, or no brace after the labels".to_owned());
        };
        let name = name.trim_end_matches(BLANKS);
        if !is_label_name(name) || name == "__name__" {
            return Err(format!("{name:?} is not a label's name"));
        }
        if labels.iter().any(|(known, _)| known == name) {
            return Err(format!("the label {name} comes twice"));
        }
        let Some(quoted) = rest.trim_start_matches(BLANKS).strip_prefix('"') else {
            return Err(format!("the value of the label {name} is not quoted"));
        };
        let end = closing_quote(quoted)
            .ok_or_else(|| format!("the value of the label {name} does not end"))?;
        let (value, rest) = quoted.split_at(end);
        labels.push((name.to_owned(), unescape(value, true)?));
        text = rest.strip_prefix('"').unwrap_or_default().trim_start_matches(BLANKS);
        text = match text.strip_prefix(',') {
            Some(rest) => rest,
            None if text.starts_with('}') => text,
            None => return Err(format!("neither comma nor brace after the label {name}")),
        };
    }
}

/// Where the quote is that ends a value.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescape(text: &str, quoted: bool) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quoted => plain.push('"'),
            other => return Err(format!("\\{} means nothing", other.unwrap_or_default())),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(families: &[Family]) -> Vec<String> {
        let mut lines = Vec::new();
        for family in families {
            lines.push(format!("{} {:?} {:?}", family.name, family.kind, family.help));
            for ParsedSample { name, labels, value, timestamp_ms, .. } in &family.samples {
                lines.push(format!("  {name} {labels:?} {value} {timestamp_ms:?}"));
            }
        }
        lines
    }

    #[test]
    fn what_the_format_allows_is_read() {
        let check = |text: &str, expect: &[&str]| {
            assert_eq!(shown(&parse(text).unwrap()), expect, "{text:?}");
        };
        check("", &[]);
        check("\n# a comment\n#\n# HELP\n# TYPE x\n", &[]);
        check("# TYPE unused gauge\n", &[]);
        check("a 1\n", &["a Untyped None", "  a [] 1 None"]);
        check(
            "# HELP a two\\nlines \\\\\n# TYPE a COUNTER\na{z=\"1\", b = \"q\\\"\\\\\\n\" ,} +Inf -5\n",
            &[
                "a Counter Some(\"two\\nlines \\\\\")",
                "  a [(\"b\", \"q\\\"\\\\\\n\"), (\"z\", \"1\")] inf Some(-5)",
            ],
        );
        check("  a:b_1\t{}  -1.5e3 \t \n", &["a:b_1 Untyped None", "  a:b_1 [] -1500 None"]);
        check("a{b=\"}# \"} NaN\n", &["a Untyped None", "  a [(\"b\", \"}# \")] NaN None"]);
        check(
            "# TYPE s summary\ns{quantile=\"0.50\"} 1\ns_sum 2\ns_count 3\ns_bucket 4\n",
            &[
                "s Summary None",
                "  s [(\"quantile\", \"0.5\")] 1 None",
                "  s_sum [] 2 None",
                "  s_count [] 3 None",
                "s_bucket Untyped None",
                "  s_bucket [] 4 None",
            ],
        );
        check(
            "# TYPE h histogram\nh_bucket{le=\"1638400\"} 1\nh_bucket{le=\"inf\"} 2\nh_count 2\n",
            &[
                "h Histogram None",
                "  h_bucket [(\"le\", \"1.6384e+06\")] 1 None",
                "  h_bucket [(\"le\", \"+Inf\")] 2 None",
                "  h_count [] 2 None",
            ],
        );
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_line() {
        let check = |text: &str, line: usize, expect: &str| {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.fault.as_str()), (line, expect), "{text:?}");
        };
        check("a 1", 1, "it ends within the line");
        check("a 1\nb", 2, "it ends within the line");
        check("a\n", 1, "\"\" is not a number");
        check("a one\n", 1, "\"one\" is not a number");
        check("a 1_000\n", 1, "\"1_000\" is not a number");
        check("a 1 soon\n", 1, "\"soon\" is not a time");
        check("a 1 2 3\n", 1, "\"2 3\" is not a time");
        check("a 1\r\n", 1, "\"1\\r\" is not a number");
        check("1a 1\n", 1, "\"1a\" is not a metric's name");
        check("a.b 1\n", 1, "\"a.b\" is not a metric's name");
        check("{\"a.b\"} 1\n", 1, "\"\" is not a metric's name");
        check("a{b} 1\n", 1, "a label without a value, or no brace after the labels");
        check("a{b=\"1\" 1\n", 1, "neither comma nor brace after the label b");
        check("a{b=1} 1\n", 1, "the value of the label b is not quoted");
        check("a{b=\"1} 1\n", 1, "the value of the label b does not end");
        check("a{b=\"\\t\"} 1\n", 1, "\\t means nothing");
        check("a{b:c=\"1\"} 1\n", 1, "\"b:c\" is not a label's name");
        check("a{__name__=\"1\"} 1\n", 1, "\"__name__\" is not a label's name");
        check("a{b=\"1\",b=\"2\"} 1\n", 1, "the label b comes twice");
        check("# TYPE a enum\n", 1, "\"enum\" is not a type");
        check("a 1\n# TYPE a gauge\n", 2, "a has a second TYPE, or one after its values");
        check(
            "# TYPE a gauge\n# TYPE a gauge\n",
            2,
            "a has a second TYPE, or one after its values",
        );
        check("# HELP a 1\n# HELP a 1\n", 2, "a has a second HELP");
        check("# HELP a.b x\n", 1, "\"a.b\" is not a metric's name");
        check("# HELP a \\x\n", 1, "\\x means nothing");
        check("# TYPE a summary\na 1\n", 2, "a has no label quantile");
        check("# TYPE a histogram\na_bucket{le=\"x\"} 1\n", 2, "le=\"x\" is not a number");
        check("# TYPE a histogram\na 1\n", 2, "a is a histogram, which has parts only");
    }
}
