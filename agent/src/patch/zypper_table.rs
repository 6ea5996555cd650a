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
    let tables = Table::find(text);
    if tables.is_empty() && !text.contains(NOTHING) {
        return Err(format!(
            "zypper's list of updates could not be read: {}",
            super::answer::shortened(text)
        ));
    }
    let rows = tables.iter().flat_map(Table::rows);
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
    let tables = Table::find(text);
    if tables.is_empty() && !text.contains(NOTHING) {
        return None;
    }
    let rows = tables.iter().flat_map(Table::rows);
    let patches = rows.filter_map(|row| {
        // Older versions list the needed ones only, and say nothing of it.
        let is_needed = row.of("Status").is_none_or(|status| status == "needed");
        is_needed.then_some(Patch {
            name: row.of("Name")?.to_owned(),
            category: row.of("Category")?.to_owned(),
            severity: row.of("Severity").unwrap_or_default().to_owned(),
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
    /// Finds every table: updates of zypper itself stand in one of their own before the rest.
    fn find(text: &'text str) -> Vec<Self> {
        let mut tables = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let is_ruler = |next: &&str| {
                next.contains('+') && next.chars().all(|letter| matches!(letter, '-' | '+'))
            };
            if !line.contains(SEPARATOR) || lines.next_if(|next| is_ruler(&next.trim())).is_none() {
                continue;
            }
            let columns: Vec<&str> = line.split(SEPARATOR).map(str::trim).collect();
            let mut table = Self { columns, lines: Vec::new() };
            // What follows the last row has no columns.
            while let Some(row) = lines.next_if(|line| line.contains(SEPARATOR)) {
                table.lines.push(row);
            }
            tables.push(table);
        }
        tables
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_every_table_are_read() {
        let check = |text: &str, expect: Option<&[[&str; 3]]>| {
            let patches = patches(text);
            let seen: Option<Vec<[&str; 3]>> = patches.as_ref().map(|patches| {
                patches.iter().map(|one| [&*one.name, &one.category, &one.severity]).collect()
            });
            assert_eq!(seen.as_deref(), expect, "{text}");
        };
        let head = "Loading repository data...\nReading installed packages...\n";
        let columns = "Repository | Name   | Category | Severity  | Interactive | Status | Since | Summary\n\
            -----------+--------+----------+-----------+-------------+--------+-------+--------\n";
        let first = "Updates    | SLE-1  | security | important | restart     | needed | -     | Security update for zypper | libzypp\n";
        let second = "Updates    | SLE-2  | optional | low       | ---         | needed | -     | Optional update\n\
            Updates    | SLE-3  | security | critical  | reboot      | applied | -    | Security update\n";
        check(
            &format!(
                "{head}\nThe following software management updates will be installed first:\n\n\
                 {columns}{first}\nThe following updates are also available:\n\n{columns}{second}\n\
                 Found 2 applicable patches:\n"
            ),
            Some(&[["SLE-1", "security", "important"], ["SLE-2", "optional", "low"]]),
        );
        check(&format!("{head}No updates found.\n"), Some(&[]));
        check("Warning: | odd\n", None);
        // Older versions list the needed ones only.
        check(
            "Repository | Name | Version | Category | Status | Summary\n\
             -----------+------+---------+----------+--------+--------\n\
             Updates    | a-1  | 1       | security | needed | A\n",
            Some(&[["a-1", "security", ""]]),
        );
    }

    #[test]
    fn updates_are_rows_of_the_table() {
        let check = |text: &str, expect: Option<&[[&str; 5]]>| {
            let updates = updates(text);
            let seen: Option<Vec<[&str; 5]>> = updates.as_ref().ok().map(|updates| {
                let rows = updates.iter().map(|one| {
                    [
                        one.package.as_str(),
                        &one.architecture,
                        &one.installed,
                        &one.offered,
                        &one.origin,
                    ]
                });
                rows.collect()
            });
            assert_eq!(seen.as_deref(), expect, "{text}");
        };
        check(
            "Loading repository data...\nReading installed packages...\n\
             S | Repository          | Name                | Current Version    | Available Version  | Arch  \n\
             --+---------------------+---------------------+--------------------+--------------------+-------\n\
             v | Update repository   | bash                | 5.1-1              | 5.2-1              | x86_64\n\
             \x20 | SLE-Module-Basesystem15-SP5-Updates | at-spi2 | 1:2.44-150400.1  | 1:2.44-150400.3  | noarch\n\
             \nNote: 1 package was held back.\n",
            Some(&[
                ["bash", "x86_64", "5.1-1", "5.2-1", "Update repository"],
                [
                    "at-spi2",
                    "noarch",
                    "1:2.44-150400.1",
                    "1:2.44-150400.3",
                    "SLE-Module-Basesystem15-SP5-Updates",
                ],
            ]),
        );
        check("No updates found.\n", Some(&[]));
        check("Repository 'a' is invalid.\n", None);
    }
}
