//! `routing`: what the routing file says, and who would get an alert.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use upkeep_model::Labels;

use super::{CommandError, print_json};
use crate::alert::{self, Explanation, Routing, Way};
use crate::clock::Clock;
use crate::config::Config;

/// What to do about routing.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say everything that is wrong with the routing file, with line and column, and what of it is
    /// not served.
    Check(CheckArguments),
    /// Say who would get an alert of these labels, and why.
    Test(TestArguments),
}

/// Which file to check.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The routing file; without it, that of the configuration.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Which alert, and by which file.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// The alert's labels, such as `alertname=HostDown instance=web1`.
    #[arg(long, required = true, num_args = 1.., value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// The routing file; without it, that of the configuration.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The moment at which people would be told, in RFC 3339; without it, now.
    #[arg(long)]
    pub time: Option<jiff::Timestamp>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs a command about routing; the configuration is only read where no file is named.
pub(super) fn run(
    command: &Command,
    config: impl FnOnce() -> Result<Config, CommandError>,
) -> Result<(), CommandError> {
    match command {
        Command::Check(arguments) => {
            let (file, routing) = load(arguments.file.as_ref(), config)?;
            for warning in &routing.warnings {
                writeln!(io::stderr(), "{warning} (warning)")?;
            }
            let receivers = routing.receivers.len();
            writeln!(io::stdout(), "{} is in order: {receivers} receivers", file.display())?;
            Ok(())
        }
        Command::Test(arguments) => {
            let labels = labels(&arguments.labels)?;
            let (_, routing) = load(arguments.file.as_ref(), config)?;
            let now_ms = || Clock::system().now_ms();
            let at_ms = arguments.time.map_or_else(now_ms, |time| time.as_millisecond());
            let explained = routing.explain(&labels, at_ms);
            if arguments.json {
                return print_json(&explained);
            }
            Ok(io::stdout().write_all(render(&explained).as_bytes())?)
        }
    }
}

fn load(
    file: Option<&PathBuf>,
    config: impl FnOnce() -> Result<Config, CommandError>,
) -> Result<(PathBuf, Routing), CommandError> {
    let (file, allowed) = match file {
        // A file may be looked at where no collector is set up.
        Some(file) => {
            let allowed = config().map(|config| config.alerts.allowed()).unwrap_or_default();
            (Some(file.clone()), allowed)
        }
        None => {
            let alerts = config()?.alerts;
            (alerts.routing_file(), alerts.allowed())
        }
    };
    let file = file.ok_or_else(|| {
        CommandError::Argument("there is no routing file: nobody is told of anything".to_owned())
    })?;
    let settings = alert::Settings { routing: file.clone(), allowed, ..Default::default() };
    Ok((file, alert::load(&settings)?))
}

fn labels(pairs: &[String]) -> Result<Labels, CommandError> {
    let read = |pair: &String| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), value.trim_matches('"').to_owned()))
        }
        _ => Err(CommandError::Argument(format!(
            "`{pair}` is not a label such as severity=critical"
        ))),
    };
    Ok(Labels::new(pairs.iter().map(read).collect::<Result<Vec<_>, _>>()?))
}

/// The answer for people.
fn render(explained: &Explanation) -> String {
    let mut text: String = explained.ways.iter().map(render_way).collect();
    for inhibitor in &explained.inhibited_by {
        let shared = match inhibitor.equal.is_empty() {
            true => String::new(),
            false => format!(" with {}", inhibitor.equal),
        };
        text += &format!("not while an alert fires that matches {}{shared}\n", inhibitor.source);
    }
    text
}

fn render_way(way: &Way) -> String {
    let ways = match way.channels {
        0 => "names no way: nobody hears of it".to_owned(),
        1 => "by 1 way".to_owned(),
        ways => format!("by {ways} ways"),
    };
    let muted = match way.muted_by.as_slice() {
        [] => String::new(),
        names => format!("  not at this time, for the time intervals {}\n", names.join(", ")),
    };
    let escalates = way.escalates.as_ref().map_or_else(String::new, |escalates| {
        let (to, after_s) = (&escalates.to, escalates.after_s);
        format!("  and {to} after {after_s} s, unless somebody acknowledges it\n")
    });
    format!(
        "{} ({ways})\n  because of the route {}\n  together with alerts that have {}\n  \
         {} s after the first of them, when something changed every {} s, and again every {} s\n{escalates}{muted}",
        way.receiver,
        way.route,
        way.group_labels,
        way.group_wait_s,
        way.group_interval_s,
        way.repeat_interval_s
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(text: &str, command: impl FnOnce(PathBuf) -> Command) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routing.yml");
        std::fs::write(&file, text).unwrap();
        let no_config = || Err(CommandError::Argument("no configuration".to_owned()));
        run(&command(file), no_config).map_err(|error| error.to_string())
    }

    const ROUTING: &str = "{route: {receiver: a}, receivers: [{name: a}]}";

    #[test]
    fn a_file_is_checked() {
        let check =
            |text: &str| run_on(text, |file| Command::Check(CheckArguments { file: Some(file) }));
        assert_eq!(check(ROUTING), Ok(()));
        let refused = check("{route: {receiver: b}, receivers: [{name: a}]}").unwrap_err();
        assert!(refused.ends_with("routing.yml:1:20: there is no receiver `b`"), "{refused}");
        let none = run(&Command::Check(CheckArguments { file: None }), || {
            Err(CommandError::Argument("no configuration".to_owned()))
        });
        assert_eq!(none.unwrap_err().to_string(), "no configuration");
    }

    #[test]
    fn labels_are_pairs() {
        let check = |pair: &str, expect: Result<(), &str>| {
            let labels = vec![pair.to_owned()];
            let ran = run_on(ROUTING, |file| {
                Command::Test(TestArguments { labels, file: Some(file), time: None, json: true })
            });
            assert_eq!(ran, expect.map_err(str::to_owned));
        };
        check("a=b", Ok(()));
        check("a", Err("`a` is not a label such as severity=critical"));
        check("=b", Err("`=b` is not a label such as severity=critical"));
    }

    #[test]
    fn the_answer_says_who_and_why() {
        let way = Way {
            receiver: "ops".to_owned(),
            channels: 2,
            route: "{}/{team=\"db\"}".to_owned(),
            group_labels: Labels::new([("alertname", "A")]),
            group_wait_s: 30,
            group_interval_s: 300,
            repeat_interval_s: 14_400,
            muted_by: vec!["nights".to_owned()],
            escalates: Some(alert::Escalates { to: "boss".to_owned(), after_s: 900 }),
        };
        let inhibitor = alert::Inhibitor {
            source: "{alertname=\"HostDown\"}".to_owned(),
            equal: Labels::new([("instance", "web1")]),
        };
        let explained = Explanation { ways: vec![way], inhibited_by: vec![inhibitor] };
        let expect = "ops (by 2 ways)\n  because of the route {}/{team=\"db\"}\n  \
            together with alerts that have {alertname=\"A\"}\n  \
            30 s after the first of them, when something changed every 300 s, and again every 14400 s\n  \
            and boss after 900 s, unless somebody acknowledges it\n  \
            not at this time, for the time intervals nights\n\
            not while an alert fires that matches {alertname=\"HostDown\"} with {instance=\"web1\"}\n";
        assert_eq!(render(&explained), expect);
    }
}
