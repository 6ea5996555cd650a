//! Places in a text.

use std::fmt;

/// Where something stands in the text of a query: line and column, both from 1, the column in
/// bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The byte in the line.
    pub column: u32,
}

impl Position {
    /// The place of a byte.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        let is_break = |byte: &&u8| **byte == b'\n';
        let last_break = before.iter().rposition(|byte| *byte == b'\n');
        let column = before.len() - last_break.map_or(0, |at| at + 1) + 1;
        let lines = before.iter().filter(is_break).count() + 1;
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: narrow(lines), column: narrow(column) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_begin_at_one() {
        let check = |offset: usize, expect: &str| {
            assert_eq!(Position::of("ab\ncd\n", offset).to_string(), expect);
        };
        check(0, "1:1");
        check(2, "1:3");
        check(3, "2:1");
        check(4, "2:2");
        check(6, "3:1");
        check(99, "3:1");
    }
}
