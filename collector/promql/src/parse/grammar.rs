//! Tokens to a tree: operators by precedence, everything else by descent. The first error ends it,
//! in the words of Prometheus' parser and at its places.

use super::ParseError;
use super::lexer::Tokens;
use super::number;
use super::signature::{self, Support};
use super::token::{Keyword, Kind, POWER_PRECEDENCE, Sign, Token};
use super::tree::{Aggregate, Binary, Group, Modifier, Node, NodeKind, Selector};
use crate::quote::{quoted, unquoted};

/// The grammar at work on a text.
pub(super) struct Grammar<'a> {
    pub(super) text: &'a str,
    tokens: &'a Tokens,
    next: usize,
    /// Where the last bracket, number or duration ended that was read.
    pub(super) last_closing: usize,
    /// In how many aggregations the parser is: errors within one name it.
    aggregations: usize,
}

/// The whole text as one expression.
pub(super) fn expression(text: &str, tokens: &Tokens) -> Result<Node, ParseError> {
    let mut grammar = Grammar { text, tokens, next: 0, last_closing: 0, aggregations: 0 };
    if grammar.peek() == Kind::EndOfInput {
        return Err(ParseError::at(text, 0, "no expression found in input"));
    }
    let node = grammar.operation(0)?;
    match grammar.peek() {
        Kind::EndOfInput => Ok(node),
        _ => Err(grammar.unexpected("", "")),
    }
}

/// The whole text as a selector of series and nothing more.
pub(super) fn selector(text: &str, tokens: &Tokens) -> Result<Node, ParseError> {
    let mut grammar = Grammar { text, tokens, next: 0, last_closing: 0, aggregations: 0 };
    let name = grammar.peek().is_metric_name().then(|| grammar.advance());
    if name.is_none() && grammar.peek() != Kind::LeftBrace {
        return Err(grammar.unexpected("", ""));
    }
    let node = grammar.selector(name)?;
    match grammar.peek() {
        Kind::EndOfInput => Ok(node),
        _ => Err(grammar.unexpected("", "")),
    }
}

impl<'a> Grammar<'a> {
    pub(super) fn token(&self) -> Token {
        let end = Token { kind: Kind::EndOfInput, start: self.text.len(), end: self.text.len() };
        self.tokens.tokens.get(self.next).copied().unwrap_or(end)
    }

    pub(super) fn peek(&self) -> Kind {
        self.token().kind
    }

    fn peek_second(&self) -> Option<Kind> {
        self.tokens.tokens.get(self.next + 1).map(|token| token.kind)
    }

    pub(super) fn advance(&mut self) -> Token {
        let token = self.token();
        if matches!(
            token.kind,
            Kind::RightBrace
                | Kind::RightParen
                | Kind::RightBracket
                | Kind::Duration
                | Kind::Number
        ) {
            self.last_closing = token.end;
        }
        self.next += 1;
        token
    }

    pub(super) fn take(&mut self, kind: Kind) -> Option<Token> {
        (self.peek() == kind).then(|| self.advance())
    }

    pub(super) fn text_of(&self, token: Token) -> &'a str {
        token.text(self.text)
    }

    /// An error about the next token; where it is what the lexer could not read, the lexer's.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.token();
        if let (Kind::Malformed, Some((at, message))) = (token.kind, &self.tokens.failure) {
            return ParseError::at(self.text, *at, message.clone());
        }
        let context = match context {
            "" if self.aggregations > 0 => "aggregation",
            other => other,
        };
        let mut message = format!("unexpected {}", token.description(self.text));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        ParseError::at(self.text, token.start, message)
    }

    pub(super) fn unsupported(&self, at: usize, what: impl Into<String>) -> ParseError {
        ParseError::unsupported(self.text, at, what, "experimental")
    }

    /// Operands and the operators between them that bind at least as tightly as asked for.
    fn operation(&mut self, least: u8) -> Result<Node, ParseError> {
        let mut left = self.operand()?;
        while let Kind::Operator(sign) = self.peek() {
            let precedence = sign.precedence();
            if precedence < least {
                break;
            }
            let at = self.advance().start;
            let modifier = self.modifier()?;
            // A chain of powers groups from the right, all others from the left.
            let right = self.operation(match sign {
                Sign::Power => precedence,
                _ => precedence + 1,
            })?;
            let (start, end) = (left.start, right.end);
            let kind = NodeKind::Binary(Box::new(Binary { sign, at, left, right, modifier }));
            left = Node { kind, start, end };
        }
        Ok(left)
    }

    /// `bool`, `on (…)`, `group_left (…)` and their like, after an operator.
    fn modifier(&mut self) -> Result<Modifier, ParseError> {
        let returns_bool = self.take(Kind::Keyword(Keyword::Bool)).is_some();
        let mut modifier = Modifier { returns_bool, ..Modifier::default() };
        if let Kind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek() {
            self.advance();
            modifier.is_on = keyword == Keyword::On;
            modifier.labels = self.grouping()?;
            modifier.group = match self.peek() {
                Kind::Keyword(Keyword::GroupLeft) => Some(Group::Left),
                Kind::Keyword(Keyword::GroupRight) => Some(Group::Right),
                _ => None,
            };
            if modifier.group.is_some() {
                self.advance();
                if self.peek() == Kind::LeftParen {
                    modifier.include = self.grouping()?;
                }
            }
        }
        match self.peek() {
            Kind::Keyword(keyword) if keyword.is_fill() => {
                Err(self.unsupported(self.token().start, "modifier \"fill\""))
            }
            _ => Ok(modifier),
        }
    }

    /// A list of labels in parentheses.
    fn grouping(&mut self) -> Result<Vec<String>, ParseError> {
        let mut labels = Vec::new();
        if self.take(Kind::LeftParen).is_none() {
            return Err(self.unexpected("grouping opts", "\"(\""));
        }
        if self.take(Kind::RightParen).is_some() {
            return Ok(labels);
        }
        loop {
            labels.push(self.grouping_label()?);
            let had_comma = self.take(Kind::Comma).is_some();
            if self.take(Kind::RightParen).is_some() {
                return Ok(labels);
            }
            if !had_comma {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
    }

    fn grouping_label(&mut self) -> Result<String, ParseError> {
        let token = self.token();
        let name = match token.kind {
            Kind::Text => unquoted(self.text_of(token)),
            kind if kind.is_label_name() => self.text_of(token).to_owned(),
            _ => return Err(self.unexpected("grouping opts", "label")),
        };
        self.advance();
        if name.is_empty() {
            let message = format!("invalid label name for grouping: {}", quoted(&name));
            return Err(ParseError::at(self.text, token.start, message));
        }
        Ok(name)
    }

    /// One operand with the signs before and the modifiers behind it.
    fn operand(&mut self) -> Result<Node, ParseError> {
        if let Kind::Operator(sign @ (Sign::Add | Sign::Subtract)) = self.peek() {
            let start = self.advance().start;
            let operand = self.operation(POWER_PRECEDENCE)?;
            let end = operand.end;
            let kind = match operand.kind {
                NodeKind::Number { value, is_duration } => {
                    let value = if sign == Sign::Subtract { -value } else { value };
                    NodeKind::Number { value, is_duration }
                }
                kind => {
                    let operand = Box::new(Node { kind, ..operand });
                    NodeKind::Unary { sign, operand }
                }
            };
            return Ok(Node { kind, start, end });
        }
        let node = self.primary()?;
        self.extended(node)
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let token = self.token();
        let node = |kind, end| Node { kind, start: token.start, end };
        let followed_by_paren = self.peek_second() == Some(Kind::LeftParen);
        match token.kind {
            Kind::Number | Kind::Duration => {
                let (value, is_duration) = self.literal()?;
                Ok(node(NodeKind::Number { value, is_duration }, token.end))
            }
            Kind::Text => {
                self.advance();
                Ok(node(NodeKind::Text(unquoted(self.text_of(token))), token.end))
            }
            Kind::LeftParen => {
                self.advance();
                let inner = self.operation(0)?;
                let Some(close) = self.take(Kind::RightParen) else {
                    return Err(self.unexpected("", ""));
                };
                Ok(node(NodeKind::Paren(Box::new(inner)), close.end))
            }
            Kind::Aggregator(operation) if self.begins_aggregation() => self.aggregation(operation),
            Kind::Identifier if followed_by_paren => self.call(),
            Kind::Preprocessor(name) if followed_by_paren => {
                Err(self.unsupported(token.start, format!("function \"{name}\"")))
            }
            Kind::LeftBrace => self.selector(None),
            kind if kind.is_metric_name() => {
                self.advance();
                self.selector(Some(token))
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    fn begins_aggregation(&self) -> bool {
        matches!(
            self.peek_second(),
            Some(
                Kind::LeftParen
                    | Kind::Keyword(Keyword::By)
                    | Kind::Keyword(Keyword::Without)
                    | Kind::Malformed
            )
        )
    }

    /// A number, or a duration in seconds, and whether it is that.
    pub(super) fn literal(&mut self) -> Result<(f64, bool), ParseError> {
        let token = self.advance();
        let text = self.text_of(token);
        let is_duration = token.kind == Kind::Duration;
        let value = match is_duration {
            true => number::duration_ms(text).map(|milliseconds| milliseconds as f64 / 1000.0),
            false => number::value(text),
        };
        let value = value.map_err(|message| ParseError::at(self.text, token.start, message))?;
        Ok((value, is_duration))
    }

    fn aggregation(&mut self, operation: &'static str) -> Result<Node, ParseError> {
        let start = self.advance().start;
        self.aggregations += 1;
        let mut modifier = self.aggregation_modifier()?;
        let mut arguments = self.arguments()?;
        // What follows belongs to whatever is around it.
        self.aggregations -= 1;
        if modifier.is_none() {
            modifier = self.aggregation_modifier()?;
        }
        let end = self.last_closing;
        let error = |message: String| ParseError::at(self.text, start, message);
        if arguments.is_empty() {
            return Err(error("no arguments for aggregate expression provided".to_owned()));
        }
        let wanted = match operation {
            "limit_ratio" => {
                return Err(self.unsupported(start, "aggregation \"limit_ratio\""));
            }
            "topk" | "bottomk" | "count_values" | "quantile" | "limitk" => 2,
            _ => 1,
        };
        if arguments.len() != wanted {
            let got = arguments.len();
            return Err(error(format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, \
                 got {got}"
            )));
        }
        let Some(inner) = arguments.pop() else { return Err(self.unexpected("aggregation", "")) };
        let parameter = arguments.pop();
        let (is_without, grouping) = modifier.unwrap_or_default();
        let aggregate = Aggregate { operation, parameter, inner, is_without, grouping };
        Ok(Node { kind: NodeKind::Aggregate(Box::new(aggregate)), start, end })
    }

    /// `by (…)` or `without (…)`: whether it is the latter, and the labels.
    fn aggregation_modifier(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let is_without = match self.peek() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some((is_without, self.grouping()?)))
    }

    fn call(&mut self) -> Result<Node, ParseError> {
        let token = self.advance();
        let name = self.text_of(token);
        let arguments = self.arguments()?;
        let what = format!("function {}", quoted(name));
        let refuse = |reason| Err(ParseError::unsupported(self.text, token.start, what, reason));
        let Some(signature) = signature::find(name) else {
            let message = format!("unknown function with name {}", quoted(name));
            return Err(ParseError::at(self.text, token.start, message));
        };
        match signature.support {
            Support::Full => {}
            Support::Native => return refuse("native histograms"),
            Support::Experimental => return refuse("experimental"),
        }
        let kind = NodeKind::Call { signature, arguments };
        Ok(Node { kind, start: token.start, end: self.last_closing })
    }

    /// Expressions in parentheses, between commas.
    fn arguments(&mut self) -> Result<Vec<Node>, ParseError> {
        let mut arguments = Vec::new();
        if self.take(Kind::LeftParen).is_none() {
            return Err(self.unexpected("", ""));
        }
        if self.take(Kind::RightParen).is_some() {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.operation(0)?);
            let comma = self.take(Kind::Comma);
            match (comma, self.peek()) {
                (Some(comma), Kind::RightParen) => {
                    let message = "trailing commas not allowed in function call args";
                    return Err(ParseError::at(self.text, comma.start, message));
                }
                (Some(_), _) => {}
                (None, Kind::RightParen) => {
                    self.advance();
                    return Ok(arguments);
                }
                (None, _) => return Err(self.unexpected("", "")),
            }
        }
    }

    /// A selector whose metric name has been read, if it has one in front of its braces.
    fn selector(&mut self, name: Option<Token>) -> Result<Node, ParseError> {
        let start = name.map_or(self.token().start, |name| name.start);
        let mut end = name.map_or(start, |name| name.end);
        let mut selector = Selector {
            name: name.map(|name| self.text_of(name).to_owned()),
            ..Selector::default()
        };
        if self.peek() == Kind::LeftBrace {
            selector.matchers = self.matchers()?;
            end = self.last_closing;
        }
        Ok(Node { kind: NodeKind::Selector(selector), start, end })
    }
}
