//! What the lexer makes of a text: tokens, and how messages name them.

use crate::quote::{quoted, quoted_start};

/// One token: its kind and the bytes of the text that it stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comma,
    Colon,
    DoubleColon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Equal,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
    At,
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Text,
    Number,
    Duration,
    Operator(Sign),
    Aggregator(&'static str),
    Keyword(Keyword),
    /// `start`, `end`, `step`, `range`
    Preprocessor(&'static str),
    EndOfInput,
    /// Where the text cannot be divided any further; the lexer keeps the reason.
    Malformed,
}

/// A binary operator; some are unary ones, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Unless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that are more than identifiers, in lower case.
const WORDS: &[(&str, Kind)] = &[
    ("and", Kind::Operator(Sign::And)),
    ("or", Kind::Operator(Sign::Or)),
    ("unless", Kind::Operator(Sign::Unless)),
    ("atan2", Kind::Operator(Sign::Atan2)),
    ("sum", Kind::Aggregator("sum")),
    ("avg", Kind::Aggregator("avg")),
    ("count", Kind::Aggregator("count")),
    ("min", Kind::Aggregator("min")),
    ("max", Kind::Aggregator("max")),
    ("group", Kind::Aggregator("group")),
    ("stddev", Kind::Aggregator("stddev")),
    ("stdvar", Kind::Aggregator("stdvar")),
    ("topk", Kind::Aggregator("topk")),
    ("bottomk", Kind::Aggregator("bottomk")),
    ("count_values", Kind::Aggregator("count_values")),
    ("quantile", Kind::Aggregator("quantile")),
    ("limitk", Kind::Aggregator("limitk")),
    ("limit_ratio", Kind::Aggregator("limit_ratio")),
    ("offset", Kind::Keyword(Keyword::Offset)),
    ("smoothed", Kind::Keyword(Keyword::Smoothed)),
    ("anchored", Kind::Keyword(Keyword::Anchored)),
    ("by", Kind::Keyword(Keyword::By)),
    ("without", Kind::Keyword(Keyword::Without)),
    ("on", Kind::Keyword(Keyword::On)),
    ("ignoring", Kind::Keyword(Keyword::Ignoring)),
    ("group_left", Kind::Keyword(Keyword::GroupLeft)),
    ("group_right", Kind::Keyword(Keyword::GroupRight)),
    ("fill", Kind::Keyword(Keyword::Fill)),
    ("fill_left", Kind::Keyword(Keyword::FillLeft)),
    ("fill_right", Kind::Keyword(Keyword::FillRight)),
    ("bool", Kind::Keyword(Keyword::Bool)),
    ("start", Kind::Preprocessor("start")),
    ("end", Kind::Preprocessor("end")),
    ("step", Kind::Preprocessor("step")),
    ("range", Kind::Preprocessor("range")),
    ("inf", Kind::Number),
    ("nan", Kind::Number),
];

impl Kind {
    /// What a word is, in any case of its letters.
    pub(super) fn of_word(word: &str) -> Self {
        let known = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        match known {
            Some((_, kind)) => *kind,
            None if word.contains(':') => Self::MetricIdentifier,
            None => Self::Identifier,
        }
    }

    /// Whether a metric may be called so outside of quotes.
    pub(super) fn is_metric_name(self) -> bool {
        use Keyword::{Anchored, By, Fill, FillLeft, FillRight, Offset, Smoothed, Without};
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregator(_) => true,
            Self::Preprocessor(_) => true,
            Self::Operator(Sign::And | Sign::Or | Sign::Unless) => true,
            Self::Keyword(keyword) => matches!(
                keyword,
                Anchored | By | Fill | FillLeft | FillRight | Offset | Smoothed | Without
            ),
            _ => false,
        }
    }

    /// Whether a label may be called so in a list without quotes.
    pub(super) fn is_label_name(self) -> bool {
        match self {
            Self::Operator(sign) => {
                matches!(sign, Sign::And | Sign::Or | Sign::Unless | Sign::Atan2)
            }
            Self::Keyword(_) => true,
            other => other.is_metric_name(),
        }
    }
}

impl Keyword {
    /// Whether it fills in missing series.
    pub(super) fn is_fill(self) -> bool {
        matches!(self, Self::Fill | Self::FillLeft | Self::FillRight)
    }
}

impl Sign {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    pub(super) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessOrEqual
                | Self::Greater
                | Self::GreaterOrEqual
        )
    }

    pub(super) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// How tightly it binds; a power binds tightest.
    pub(super) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            _ if self.is_comparison() => 3,
            Self::Add | Self::Subtract => 4,
            Self::Power => POWER_PRECEDENCE,
            _ => 5,
        }
    }
}

/// The precedence of `^`, whose chains group from the right. Signs before an operand bind like
/// `*`, so that their operand takes in powers and nothing else.
pub(super) const POWER_PRECEDENCE: u8 = 6;

impl Token {
    pub(super) fn text<'a>(&self, whole: &'a str) -> &'a str {
        whole.get(self.start..self.end).unwrap_or_default()
    }

    /// How messages name it.
    pub(super) fn description(&self, whole: &str) -> String {
        let text = self.text(whole);
        match self.kind {
            Kind::EndOfInput => "end of input".to_owned(),
            Kind::Malformed => "error".to_owned(),
            Kind::Identifier => format!("identifier {}", quoted(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quoted(text)),
            Kind::Text => format!("string {}", short(text)),
            Kind::Number => format!("number {}", short(text)),
            Kind::Duration => format!("duration {}", short(text)),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Operator(_) | Kind::At | Kind::Matches | Kind::NotMatches => {
                format!("<op:{text}>")
            }
            Kind::Aggregator(_) => format!("<aggr:{text}>"),
            _ => short(text),
        }
    }
}

/// Most bytes of a token that a message quotes in full.
const SHORT: usize = 10;

fn short(text: &str) -> String {
    if text.len() > SHORT { format!("{}...", quoted_start(text, SHORT)) } else { quoted(text) }
}
