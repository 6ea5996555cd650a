//! The tables of zypper, for distributions whose zypper tells too little in XML, and for outputs
//! that people keep.

use upkeep_model::PackageUpdate;

use super::zypper_patch::Patch;

/// What separates columns.
const SEPARATOR: char = '|';

/// What is said where there is nothing to list.
const NOTHING: &str = "No updates found.";

/// Reads `list-updates`: status, repository, name, installed and offered version, architecture.
pub(super) fn updates(text: &str) -> Result<Vec<PackageUpdate>, String> {
    let table = Table::parse(text);
    if table.is_none() && !text.contains(NOTHING) {
        return Err(format!(
            "zypper's list of updates could not be read: {}",
            super::answer::shortened(text)
        ));
    }
    let rows = table.iter().flat_map(Table::rows);
    let updates = rows.filter_map(|row| {
        Some(PackageUpdate {
            package: row.of("Name")?.to_owned(),
            architecture: row.of("Arch")?.to_owned(),
            installed: row.of("Current Version")?.to_owned(),
            offered: row.of("Available Version")?.to_owned(),
            origin: row.of("Repository").unwrap_or_default().to_owned(),
            ..PackageUpdate::default()
        })
    });
    Ok(updates.collect())
}

/// Reads `list-patches`; of those that it lists with `--all`, the needed ones. `None` if it is not
/// such a list.
pub(super) fn patches(text: &str) -> Option<Vec<Patch>> {
    let table = Table::parse(text);
    if table.is_none() && !text.contains(NOTHING) {
        return None;
    }
    let rows = table.iter().flat_map(Table::rows);
    let patches = rows.filter_map(|row| {
        // Older versions list the needed ones only, and say nothing of it.
        let is_needed = row.of("Status").is_none_or(|status| status == "needed");
        is_needed.then_some(Patch {
            name: row.of("Name")?.to_owned(),
            category: row.of("Category")?.to_owned(),
            severity: row.of("Severity").unwrap_or_default().to_owned(),
            summary: row.of("Summary").unwrap_or_default().to_owned(),
            issues: Vec::new(),
        })
    });
    Some(patches.collect())
}

/// A table whose first line names the columns and whose second is a ruler.
struct Table<'text> {
    columns: Vec<&'text str>,
    lines: Vec<&'text str>,
}

impl<'text> Table<'text> {
    fn parse(text: &'text str) -> Option<Self> {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let is_ruler = |next: &&str| {
                next.contains('+') && next.chars().all(|letter| matches!(letter, '-' | '+'))
            };
            if line.contains(SEPARATOR) && lines.next_if(|next| is_ruler(&next.trim())).is_some() {
                let columns: Vec<&str> = line.split(SEPARATOR).map(str::trim).collect();
                // What follows the last row has no columns.
                let rows = lines.take_while(|line| line.contains(SEPARATOR));
                return Some(Self { columns, lines: rows.collect() });
            }
        }
        None
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.lines.iter().filter_map(|line| {
            // The last column is a text, which may hold the separator.
            let cells: Vec<&str> =
                line.splitn(self.columns.len(), SEPARATOR).map(str::trim).collect();
            (cells.len() == self.columns.len()).then_some(Row { columns: &self.columns, cells })
        })
    }
}

struct Row<'table> {
    columns: &'table [&'table str],
    cells: Vec<&'table str>,
}

impl Row<'_> {
    fn of(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| *name == column)?;
        self.cells.get(at).copied().filter(|cell| !cell.is_empty())
    }
}
