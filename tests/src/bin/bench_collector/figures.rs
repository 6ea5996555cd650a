//! What is measured, and how it is written down.

use std::fmt::Write;

use anyhow::Result;

/// The figures of one thing that was measured, by who it was measured of.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) unit: &'static str,
    /// Who, and each run's figure.
    pub(super) columns: Vec<(String, Vec<f64>)>,
    /// What is to be reached, if something is.
    pub(super) aim: Option<Aim>,
}

/// How ours is to stand beside the other's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// At least so many times that of the named column.
    Times(f64, &'static str),
    /// At most so much of that of the named column.
    Share(f64, &'static str),
    /// At most this.
    Most(f64),
}

/// Who is measured.
pub(super) const OURS: &str = "upkeep";
pub(super) const VICTORIA: &str = "victoria-metrics";

impl Figure {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, aim: Option<Aim>) -> Self {
        Self { what: what.into(), unit, columns: Vec::new(), aim }
    }

    /// Notes a run's figure, and tells it to whoever waits for the table.
    pub(super) fn note(&mut self, who: &str, figure: f64) {
        eprintln!("{}, {who}: {} {}", self.what, short(figure), self.unit);
        match self.columns.iter_mut().find(|(name, _)| name == who) {
            Some((_, figures)) => figures.push(figure),
            None => self.columns.push((who.to_owned(), vec![figure])),
        }
    }

    fn median_of(&self, who: &str) -> Option<f64> {
        self.columns.iter().find(|(name, _)| name == who).and_then(|(_, figures)| median(figures))
    }

    /// Whether the aim is reached, in words.
    fn verdict(&self) -> String {
        let Some(aim) = self.aim else { return "-".to_owned() };
        let Some(ours) = self.median_of(OURS) else { return "not measured".to_owned() };
        let (wanted, is_reached, found) = match aim {
            Aim::Times(times, who) => match self.median_of(who) {
                None => return format!("{who} was not measured"),
                Some(other) => (
                    format!("≥ {times} × {who}"),
                    ours >= times * other,
                    format!("{:.2} ×", ours / other),
                ),
            },
            Aim::Share(share, who) => match self.median_of(who) {
                None => return format!("{who} was not measured"),
                Some(other) => (
                    format!("≤ {share} × {who}"),
                    ours <= share * other,
                    format!("{:.2} ×", ours / other),
                ),
            },
            Aim::Most(most) => (format!("≤ {}", short(most)), ours <= most, short(ours)),
        };
        let verdict = if is_reached { "reached" } else { "**missed**" };
        format!("{wanted}: {found}, {verdict}")
    }
}

/// All figures of a scenario as one table.
pub(super) fn table(title: &str, notes: &str, figures: &[Figure]) -> Result<String> {
    let mut text = format!("## {title}\n");
    if !notes.is_empty() {
        writeln!(text, "{notes}\n")?;
    }
    writeln!(text, "| what | who | median (least, most) of runs | aim |\n|---|---|---|---|")?;
    for figure in figures {
        let mut verdict = figure.verdict();
        for (who, runs) in &figure.columns {
            let least = runs.iter().copied().fold(f64::INFINITY, f64::min);
            let most = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let middle = median(runs).map(short).unwrap_or_default();
            let spread = match runs.len() {
                1 => String::new(),
                count => format!(" ({}, {}) of {count}", short(least), short(most)),
            };
            let (what, unit) = (&figure.what, figure.unit);
            let aim = if who == OURS { std::mem::take(&mut verdict) } else { String::new() };
            writeln!(text, "| {what} | {who} | {middle} {unit}{spread} | {aim} |")?;
        }
    }
    Ok(text)
}

/// The middle of some figures.
pub(super) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((upper + lower) / 2.0)
}

/// A figure with as many digits as mean something.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1e6 => format!("{:.2} M", figure / 1e6),
        size if size >= 1e4 => format!("{:.0} k", figure / 1e3),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_whether_its_aim_is_reached() {
        let check = |aim, ours: &[f64], expect: &str| {
            let mut figure = Figure::new("x", "s", Some(aim));
            figure.note(VICTORIA, 10.0);
            ours.iter().for_each(|one| figure.note(OURS, *one));
            assert_eq!(figure.verdict(), expect);
        };
        let (times, share) = (Aim::Times(2.0, VICTORIA), Aim::Share(0.5, VICTORIA));
        check(times, &[10.0, 20.0, 30.0, 50.0], "≥ 2 × victoria-metrics: 2.50 ×, reached");
        check(times, &[19.0], "≥ 2 × victoria-metrics: 1.90 ×, **missed**");
        check(share, &[5.0], "≤ 0.5 × victoria-metrics: 0.50 ×, reached");
        check(share, &[6.0], "≤ 0.5 × victoria-metrics: 0.60 ×, **missed**");
        check(Aim::Most(1.0), &[1.5], "≤ 1.00: 1.50, **missed**");
        check(Aim::Most(1.0), &[], "not measured");
    }
}
