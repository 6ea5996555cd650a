//! The grammar of selectors: matchers in braces, ranges and subqueries in brackets, `offset` and `@`.

use upkeep_model::{METRIC_NAME, MatchOperator, Matcher};

use super::ParseError;
use super::grammar::Grammar;
use super::number::MAX_MS;
use super::token::{Keyword, Kind, Sign};
use super::tree::{Node, NodeKind, Subquery, Time};
use crate::expression::Anchor;
use crate::quote::unquoted;

/// What may stand where a duration is wanted.
const DURATION: &str = "number, duration, step(), or range()";

impl Grammar<'_> {
    /// The matchers in braces.
    pub(super) fn matchers(&mut self) -> Result<Vec<Matcher>, ParseError> {
        let mut matchers = Vec::new();
        self.advance();
        if self.take(Kind::RightBrace).is_some() {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            let had_comma = self.take(Kind::Comma).is_some();
            if self.take(Kind::RightBrace).is_some() {
                return Ok(matchers);
            }
            if !had_comma {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let label = self.token();
        let name = match label.kind {
            Kind::Identifier => self.text_of(label).to_owned(),
            Kind::Text => unquoted(self.text_of(label)),
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        self.advance();
        let operator = match self.peek() {
            Kind::Equal => MatchOperator::Equal,
            Kind::Operator(Sign::NotEqual) => MatchOperator::NotEqual,
            Kind::Matches => MatchOperator::Matches,
            Kind::NotMatches => MatchOperator::NotMatches,
            // A text alone is the metric's name.
            _ if label.kind == Kind::Text => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.advance();
        let Some(value) = self.take(Kind::Text) else {
            return Err(self.unexpected("label matching", "string"));
        };
        Matcher::new(name, operator, unquoted(self.text_of(value)))
            .map_err(|error| ParseError::at(self.text, label.start, error.source.to_string()))
    }

    /// An operand with what follows and changes it: `[…]`, `offset`, `@`.
    pub(super) fn extended(&mut self, mut node: Node) -> Result<Node, ParseError> {
        loop {
            node = match self.peek() {
                Kind::LeftBracket => self.bracket(node)?,
                Kind::Keyword(Keyword::Offset) => self.offset(node)?,
                Kind::At => self.anchor(node)?,
                Kind::Keyword(Keyword::Anchored) => {
                    return Err(self.unsupported(node.start, "modifier \"anchored\""));
                }
                Kind::Keyword(Keyword::Smoothed) => {
                    return Err(self.unsupported(node.start, "modifier \"smoothed\""));
                }
                _ => return Ok(node),
            };
        }
    }

    fn bracket(&mut self, node: Node) -> Result<Node, ParseError> {
        let open = self.advance().start;
        let range_ms = self.positive_duration("subquery or range selector", DURATION)?;
        match self.peek() {
            Kind::RightBracket => {
                self.advance();
                self.range(node, open, range_ms)
            }
            Kind::Colon => self.subquery(node, range_ms),
            Kind::DoubleColon => Err(self.unsupported(open, "an aligned subquery")),
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn range(&self, node: Node, open: usize, range_ms: i64) -> Result<Node, ParseError> {
        let error = |message| Err(ParseError::at(self.text, open, message));
        let NodeKind::Selector(selector) = node.kind else {
            return error("ranges only allowed for vector selectors");
        };
        if selector.time.offset_ms != 0 {
            return error("no offset modifiers allowed before range");
        }
        if matches!(selector.time.anchor, Some(Anchor::At(_))) {
            return error("no @ modifiers allowed before range");
        }
        let kind = NodeKind::Range { selector, range_ms };
        Ok(Node { kind, start: node.start, end: self.last_closing })
    }

    fn subquery(&mut self, inner: Node, range_ms: i64) -> Result<Node, ParseError> {
        self.advance();
        let step_ms = match self.peek() {
            Kind::RightBracket => None,
            _ => {
                let expected = "number, duration, step(), range(), or \"]\"";
                Some(self.positive_duration("subquery selector", expected)?)
            }
        };
        let Some(close) = self.take(Kind::RightBracket) else {
            return Err(self.unexpected("subquery selector", "\"]\""));
        };
        let start = inner.start;
        let subquery = Subquery { inner, range_ms, step_ms, time: Time::default() };
        Ok(Node { kind: NodeKind::Subquery(Box::new(subquery)), start, end: close.end })
    }

    fn positive_duration(&mut self, context: &str, expected: &str) -> Result<i64, ParseError> {
        let at = self.token().start;
        let milliseconds = self.duration(context, expected)?;
        if milliseconds <= 0 {
            return Err(ParseError::at(self.text, at, "duration must be greater than 0"));
        }
        Ok(milliseconds)
    }

    /// A duration, or a number of seconds, in milliseconds. Arithmetic with them is experimental.
    fn duration(&mut self, context: &str, expected: &str) -> Result<i64, ParseError> {
        let token = self.token();
        match token.kind {
            Kind::Number | Kind::Duration => {}
            Kind::LeftParen | Kind::Preprocessor(_) => {
                return Err(self.unsupported(token.start, "a duration expression"));
            }
            Kind::Identifier if is_choice(self.text_of(token)) => {
                return Err(self.unsupported(token.start, "a duration expression"));
            }
            Kind::Operator(Sign::Add | Sign::Subtract) => {
                return Err(self.unsupported(token.start, "a duration expression"));
            }
            _ => return Err(self.unexpected(context, expected)),
        }
        let (seconds, _) = self.literal()?;
        let milliseconds = (seconds * 1000.0).round();
        if milliseconds.is_nan() || milliseconds.abs() > MAX_MS as f64 {
            return Err(ParseError::at(self.text, token.start, "duration out of range"));
        }
        // In brackets an operator goes on with the duration; after `offset` it is another operand's.
        let goes_on = matches!(self.peek(), Kind::Operator(sign) if !sign.is_set());
        if goes_on && context != "offset" {
            return Err(self.unsupported(token.start, "a duration expression"));
        }
        Ok(milliseconds as i64)
    }

    fn offset(&mut self, mut node: Node) -> Result<Node, ParseError> {
        self.advance();
        let sign = match self.peek() {
            Kind::Operator(Sign::Subtract) => -1,
            _ => 1,
        };
        if matches!(self.peek(), Kind::Operator(Sign::Add | Sign::Subtract)) {
            self.advance();
        }
        let offset_ms = sign * self.duration("offset", DURATION)?;
        let (start, end) = (node.start, self.last_closing);
        let Some(time) = time_of(&mut node) else {
            let message = "offset modifier must be preceded by an instant vector selector or range \
                           vector selector or a subquery";
            return Err(ParseError::at(self.text, start, message));
        };
        if time.offset_ms != 0 {
            let message = "offset may not be set multiple times";
            return Err(ParseError::at(self.text, start, message));
        }
        time.offset_ms = offset_ms;
        Ok(Node { end, ..node })
    }

    fn anchor(&mut self, mut node: Node) -> Result<Node, ParseError> {
        self.advance();
        let at = self.token().start;
        let anchor = self.anchor_value()?;
        let (start, end) = (node.start, self.last_closing);
        let error = |at, message: &str| Err(ParseError::at(self.text, at, message));
        if let Err(seconds) = anchor {
            let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
            return error(at, &message);
        }
        let Some(time) = time_of(&mut node) else {
            return error(
                start,
                "@ modifier must be preceded by an instant vector selector or range vector \
                 selector or a subquery",
            );
        };
        if time.anchor.is_some() {
            return error(start, "@ <timestamp> may not be set multiple times");
        }
        time.anchor = anchor.ok();
        Ok(Node { end, ..node })
    }

    /// What `@` names, or the seconds where they are no moment.
    fn anchor_value(&mut self) -> Result<Result<Anchor, f64>, ParseError> {
        let mut sign = 1.0;
        match self.peek() {
            Kind::Preprocessor(name @ ("start" | "end")) => {
                self.advance();
                if self.take(Kind::LeftParen).is_none() || self.take(Kind::RightParen).is_none() {
                    return Err(self.unexpected("@", "timestamp"));
                }
                return Ok(Ok(if name == "start" { Anchor::Start } else { Anchor::End }));
            }
            Kind::Operator(Sign::Subtract) => {
                self.advance();
                sign = -1.0;
            }
            Kind::Operator(Sign::Add) => {
                self.advance();
            }
            _ => {}
        }
        if !matches!(self.peek(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let seconds = sign * self.literal()?.0;
        let milliseconds = (seconds * 1000.0).round();
        // Sums of a few moments must stay exact.
        match milliseconds.abs() < (i64::MAX / 16) as f64 {
            true => Ok(Ok(Anchor::At(milliseconds as i64))),
            false => Ok(Err(seconds)),
        }
    }
}

/// Whether a word is one of the functions of duration expressions.
pub(super) fn is_choice(word: &str) -> bool {
    ["min_of", "max_of"].iter().any(|name| name.eq_ignore_ascii_case(word))
}

/// The `offset` and `@` of a selector or subquery.
fn time_of(node: &mut Node) -> Option<&mut Time> {
    match &mut node.kind {
        NodeKind::Selector(selector) | NodeKind::Range { selector, .. } => Some(&mut selector.time),
        NodeKind::Subquery(subquery) => Some(&mut subquery.time),
        _ => None,
    }
}
