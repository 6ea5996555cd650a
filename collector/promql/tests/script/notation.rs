//! How scripts write durations and series; how they write values is the library's to read.

use upkeep_model::{Labels, METRIC_NAME};
use upkeep_promql::{Step, parse_steps};

/// A duration such as `1h30m`, `10s53ms`, or a number of seconds.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| format!("duration {text:?}"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                "y" => 31_536_000_000,
                _ => return Err(format!("duration {text:?}")),
            };
        rest = &rest[letters..];
    }
    Ok(if negative { -total } else { total })
}

/// A line such as `metric{label="value"} 1+1x3 _ stale`.
pub(crate) fn series(line: &str) -> Result<(Labels, Vec<Step>), String> {
    let (labels, rest) = labels(line)?;
    Ok((labels, parse_steps(rest).map_err(|error| error.to_string())?))
}

/// A label set, and what follows it.
pub(crate) fn labels(line: &str) -> Result<(Labels, &str), String> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let mut labels = Labels::default();
    labels.set(METRIC_NAME, &line[..end]);
    let Some(mut rest) = line[end..].strip_prefix('{') else { return Ok((labels, &line[end..])) };
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        if rest.starts_with('"') {
            let (name, after) = string(rest)?;
            let after_name = after.trim_start();
            match after_name.strip_prefix('=') {
                Some(value) => {
                    let (value, after) = string(value.trim_start())?;
                    labels.set(name, value);
                    rest = after;
                }
                None => {
                    labels.set(METRIC_NAME, name);
                    rest = after_name;
                }
            }
            continue;
        }
        let (name, after) = rest.split_once('=').ok_or_else(|| format!("labels in {line:?}"))?;
        let (value, after) = string(after.trim_start())?;
        labels.set(name.trim(), value);
        rest = after;
    }
}

/// A quoted string at the start of the text, and what follows it.
pub(crate) fn string(text: &str) -> Result<(String, &str), String> {
    let wrong = || format!("string in {text:?}");
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c)).ok_or_else(wrong)?;
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Ok((value, &text[at + 1..])),
            '\\' if quote != '`' => match characters.next().ok_or_else(wrong)?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    Err(wrong())
}
