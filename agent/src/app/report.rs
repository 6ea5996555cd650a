//! A report of updates as a page for people.

use std::io::{self, Write};

use jiff::Timestamp;
use upkeep_model::{
    Knowledge, ManagerReport, PackageUpdate, RebootReport, Refresh, RestartReason, StaleService,
    Support, UpdateReport,
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// So many files of a service are named; after an update of the C library there are dozens.
const NAMED_FILES: usize = 3;

/// Writes the page.
pub(super) fn write(report: &UpdateReport, out: &mut impl Write) -> io::Result<()> {
    let now_ms = report.checked_at_ms;
    if report.managers.is_empty() {
        writeln!(out, "pending updates: unknown: no package manager was found")?;
    }
    for manager in &report.managers {
        write_manager(manager, now_ms, out)?;
    }
    write_reboot(&report.reboot, out)?;
    write_services(&report.services, out)?;
    write_support(&report.support, now_ms, out)
}

fn write_manager(report: &ManagerReport, now_ms: i64, out: &mut impl Write) -> io::Result<()> {
    let manager = &report.manager;
    match &report.updates {
        Knowledge::Unknown(reason) => writeln!(out, "{manager}: unknown: {reason}")?,
        Knowledge::Known(updates) => write_sums(report, updates, out)?,
    }
    let age = report.lists_refreshed_at_ms.map(|at_ms| ago(now_ms.saturating_sub(at_ms)));
    let age = age.unwrap_or_else(|| "at an unknown time".to_owned());
    let refresh = match &report.refresh {
        Knowledge::Known(Refresh::Works) => "refreshing works".to_owned(),
        Knowledge::Known(Refresh::Off) => "nothing refreshes them by itself".to_owned(),
        Knowledge::Known(Refresh::Fails(reason)) => format!("refreshing FAILS: {reason}"),
        Knowledge::Unknown(reason) => format!("whether refreshing works is unknown: {reason}"),
    };
    writeln!(out, "  lists refreshed {age}; {refresh}")?;
    match &report.updates {
        Knowledge::Known(updates) => write_updates(report, updates, out),
        Knowledge::Unknown(_) => Ok(()),
    }
}

/// The kinds of update, in the order in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Security,
    Untold,
    Other,
    New,
    Left,
}

impl Section {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Security, "security updates"),
        (Self::Untold, "updates without advisories, for security or not"),
        (Self::Other, "other updates"),
        (Self::New, "new with them"),
        (Self::Left, "left alone"),
    ];

    fn of(report: &ManagerReport, update: &PackageUpdate) -> Self {
        if update.stays.is_some() {
            return Self::Left;
        }
        if update.installed.is_empty() {
            return Self::New;
        }
        match report.is_security(update) {
            Some(true) => Self::Security,
            Some(false) => Self::Other,
            None => Self::Untold,
        }
    }
}

fn write_sums(
    report: &ManagerReport,
    updates: &[PackageUpdate],
    out: &mut impl Write,
) -> io::Result<()> {
    let count = |section| updates.iter().filter(|one| Section::of(report, one) == section).count();
    let [security, untold, other, new, left] = Section::ALL.map(|(section, _)| count(section));
    let pending = security + untold + other;
    write!(out, "{}: {pending} pending, {security} for security", report.manager)?;
    if untold > 0 {
        let origins = report.without_advisories.join(", ");
        write!(out, ", {untold} unknown without advisories ({origins})")?;
    }
    for (number, what) in [(new, "new"), (left, "left alone")] {
        if number > 0 {
            write!(out, ", {number} {what}")?;
        }
    }
    writeln!(out)
}

fn write_updates(
    report: &ManagerReport,
    updates: &[PackageUpdate],
    out: &mut impl Write,
) -> io::Result<()> {
    let longest = |column: fn(&PackageUpdate) -> &str| {
        updates.iter().map(|one| column(one).chars().count()).max().unwrap_or_default()
    };
    let widths = [
        longest(|one| &one.package),
        longest(|one| &one.architecture),
        longest(|one| &one.installed),
        longest(|one| &one.offered),
    ];
    for (section, title) in Section::ALL {
        let mut of_section: Vec<&PackageUpdate> =
            updates.iter().filter(|one| Section::of(report, one) == section).collect();
        of_section.sort_by_key(|one| (&one.package, &one.architecture));
        if !of_section.is_empty() {
            writeln!(out, "  {title}:")?;
        }
        for update in of_section {
            write_update(update, widths, out)?;
        }
    }
    Ok(())
}

fn write_update(
    update: &PackageUpdate,
    [package, architecture, installed, offered]: [usize; 4],
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = format!(
        "    {:package$} {:architecture$} {:>installed$} -> {:offered$} {}",
        update.package, update.architecture, update.installed, update.offered, update.origin
    );
    if let Some(stay) = update.stays {
        line += &format!(" [{}]", stay.as_str().replace('_', " "));
        line += if update.security { " security" } else { "" };
    }
    for word in [&update.severity, &update.advisories.join(" ")] {
        if !word.is_empty() {
            line += &format!(" {word}");
        }
    }
    writeln!(out, "{}", line.trim_end())
}

fn write_reboot(reboot: &Knowledge<RebootReport>, out: &mut impl Write) -> io::Result<()> {
    let reasons = match reboot {
        Knowledge::Unknown(reason) => {
            return writeln!(out, "restart of the host: unknown: {reason}");
        }
        Knowledge::Known(RebootReport { reasons }) => reasons,
    };
    let needed = if reasons.is_empty() { "not needed" } else { "NEEDED" };
    writeln!(out, "restart of the host: {needed}")?;
    for RestartReason { reason, packages } in reasons {
        match packages.as_slice() {
            [] => writeln!(out, "  {reason}")?,
            packages => writeln!(out, "  {reason} ({})", packages.join(", "))?,
        }
    }
    Ok(())
}

fn write_services(services: &Knowledge<Vec<StaleService>>, out: &mut impl Write) -> io::Result<()> {
    let services = match services {
        Knowledge::Unknown(reason) => {
            return writeln!(out, "services that run old code: unknown: {reason}");
        }
        Knowledge::Known(services) if services.is_empty() => {
            return writeln!(out, "services that run old code: none");
        }
        Knowledge::Known(services) => services,
    };
    writeln!(out, "services that run old code: {}", services.len())?;
    for StaleService { name, files, processes } in services {
        let mut named = files.iter().take(NAMED_FILES).cloned().collect::<Vec<_>>().join(", ");
        if files.len() > NAMED_FILES {
            named += &format!(" and {} more", files.len() - NAMED_FILES);
        }
        match processes {
            0 => writeln!(out, "  {name}")?,
            1 => writeln!(out, "  {name}: {named}")?,
            _ => writeln!(out, "  {name} ({processes} processes): {named}")?,
        }
    }
    Ok(())
}

fn write_support(
    support: &Knowledge<Support>,
    now_ms: i64,
    out: &mut impl Write,
) -> io::Result<()> {
    let support = match support {
        Knowledge::Unknown(reason) => return writeln!(out, "support: unknown: {reason}"),
        Knowledge::Known(support) => support,
    };
    let release = &support.release;
    let Some(standard) = support.standard_until_ms else {
        return writeln!(out, "support: {release}: without end");
    };
    write!(out, "support: {release}: until {}", until(standard, now_ms))?;
    if let Some(extended) = support.extended_until_ms {
        let whose = if support.has_extended { "longer support" } else { "longer, not had here," };
        write!(out, "; {whose} until {}", until(extended, now_ms))?;
    }
    writeln!(out)
}

/// A day, and how far away it is.
fn until(end_ms: i64, now_ms: i64) -> String {
    let day = Timestamp::from_millisecond(end_ms)
        .map_or_else(|_| "an unknown day".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
    let days = end_ms.saturating_sub(now_ms).div_euclid(DAY_MS);
    match days {
        0.. => format!("{day} ({days} days left)"),
        _ => format!("{day} (OVER since {} days)", -days),
    }
}

fn ago(age_ms: i64) -> String {
    let minutes = age_ms / 60_000;
    match minutes {
        ..0 => "in the future".to_owned(),
        0..120 => format!("{minutes} minutes ago"),
        120..2880 => format!("{} hours ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::Stay;

    use super::*;

    fn check(report: &UpdateReport, expect: &str) {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    fn update(package: &str, installed: &str, origin: &str) -> PackageUpdate {
        PackageUpdate {
            package: package.to_owned(),
            architecture: "amd64".to_owned(),
            installed: installed.to_owned(),
            offered: "2.10".to_owned(),
            origin: origin.to_owned(),
            ..PackageUpdate::default()
        }
    }

    #[test]
    fn what_is_unknown_is_shown_as_unknown() {
        let unknown = |reason: &str| Knowledge::Unknown(reason.to_owned());
        let report = UpdateReport {
            reboot: Knowledge::Unknown("no permission".to_owned()),
            services: Knowledge::Unknown("no helper".to_owned()),
            support: Knowledge::Unknown("no table".to_owned()),
            ..UpdateReport::default()
        };
        let rest = "restart of the host: unknown: no permission\n\
            services that run old code: unknown: no helper\nsupport: unknown: no table\n";
        check(&report, &format!("pending updates: unknown: no package manager was found\n{rest}"));
        let broken = ManagerReport {
            manager: "apt".to_owned(),
            refresh: unknown("no apt-config"),
            updates: Knowledge::Unknown("dpkg was interrupted".to_owned()),
            ..ManagerReport::default()
        };
        check(
            &UpdateReport { managers: vec![broken], ..report },
            &format!(
                "apt: unknown: dpkg was interrupted\n  lists refreshed at an unknown time; \
                 whether refreshing works is unknown: no apt-config\n{rest}"
            ),
        );
    }

    #[test]
    fn what_is_known_is_shown_with_security_first() {
        let security = PackageUpdate {
            security: true,
            severity: "Important".to_owned(),
            advisories: vec!["A-1".to_owned()],
            ..update("openssl", "1", "Security")
        };
        let held = PackageUpdate {
            security: true,
            stays: Some(Stay::KeptBack),
            ..update("linux", "1.5", "Security")
        };
        let updates = vec![
            held,
            update("bash", "1", "Stable"),
            update("libnew", "", "Stable"),
            update("foreign", "1", "Core"),
            security,
        ];
        let manager = ManagerReport {
            manager: "apt".to_owned(),
            lists_refreshed_at_ms: Some(97 * DAY_MS),
            refresh: Knowledge::Known(Refresh::Fails("no network".to_owned())),
            updates: Knowledge::Known(updates),
            without_advisories: vec!["Core".to_owned()],
            ..ManagerReport::default()
        };
        let service = |name: &str, processes: u32, files: &[&str]| StaleService {
            name: name.to_owned(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            processes,
        };
        let reason = |reason: &str, packages: &[&str]| RestartReason {
            reason: reason.to_owned(),
            packages: packages.iter().map(|package| (*package).to_owned()).collect(),
        };
        let report = UpdateReport {
            checked_at_ms: 100 * DAY_MS,
            managers: vec![manager],
            reboot: Knowledge::Known(RebootReport {
                reasons: vec![reason("a new kernel", &["l", "m"]), reason("microcode", &[])],
            }),
            services: Knowledge::Known(vec![
                service("a.service", 0, &[]),
                service("b.service", 1, &["/1", "/2", "/3", "/4"]),
                service("c.service", 2, &["/1"]),
            ]),
            support: Knowledge::Known(Support {
                release: "Debian 1".to_owned(),
                standard_until_ms: Some(90 * DAY_MS),
                extended_until_ms: Some(110 * DAY_MS),
                has_extended: true,
            }),
        };
        check(
            &report,
            "apt: 3 pending, 1 for security, 1 unknown without advisories (Core), 1 new, 1 left alone\n  \
             lists refreshed 3 days ago; refreshing FAILS: no network\n  \
             security updates:\n    \
             openssl amd64   1 -> 2.10 Security Important A-1\n  \
             updates without advisories, for security or not:\n    \
             foreign amd64   1 -> 2.10 Core\n  \
             other updates:\n    \
             bash    amd64   1 -> 2.10 Stable\n  \
             new with them:\n    \
             libnew  amd64     -> 2.10 Stable\n  \
             left alone:\n    \
             linux   amd64 1.5 -> 2.10 Security [kept back] security\n\
             restart of the host: NEEDED\n  \
             a new kernel (l, m)\n  \
             microcode\n\
             services that run old code: 3\n  \
             a.service\n  \
             b.service: /1, /2, /3 and 1 more\n  \
             c.service (2 processes): /1\n\
             support: Debian 1: until 1970-04-01 (OVER since 10 days); \
             longer support until 1970-04-21 (10 days left)\n",
        );
    }

    #[test]
    fn times_are_told_in_fitting_units() {
        let check = |age_ms: i64, expect: &str| assert_eq!(ago(age_ms), expect);
        check(-60_000, "in the future");
        check(59_000, "0 minutes ago");
        check(119 * 60_000, "119 minutes ago");
        check(47 * 3_600_000, "47 hours ago");
        check(3 * DAY_MS, "3 days ago");
        let check = |end_ms: i64, expect: &str| assert_eq!(until(end_ms, 10 * DAY_MS), expect);
        check(11 * DAY_MS - 1, "1970-01-11 (0 days left)");
        check(10 * DAY_MS - 1, "1970-01-10 (OVER since 1 days)");
    }
}
