//! One number among good ones that cannot be read: whatever comes out stood there, and what is missing
//! is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use upkeep_agent::host::Host;
use upkeep_agent::probe::{Settings, chosen};
use upkeep_tests::fuzz;

use crate::probes::good_tree;
use crate::{Changed, host_of, is_poorer, told};

/// What a number becomes. Series that have it in their labels say what stands there.
const JUNK: &str = "?!";

/// Probes whose values are not those of the tree: the space of file systems, and what is asked of
/// programs and of systemd.
const OTHERS: [&str; 4] = ["filesystem", "graphics", "smartctl", "systemd"];

/// What the probes of a host say, and how much they could not read.
fn all_told(host: &Host) -> (BTreeSet<String>, usize) {
    let disable = OTHERS.map(str::to_owned).to_vec();
    let settings = Settings { all: true, disable, ..Settings::default() };
    let (mut series, mut unread) = (BTreeSet::new(), 0);
    // New ones each time, since some remember.
    for probe in chosen(&settings) {
        let (lines, outcome) = told(&*probe, host);
        series.extend(lines);
        unread += outcome.map_or_else(|error| error.count(), |()| 0);
    }
    (series, unread)
}

/// Where numbers stand in a text: words of digits between blanks, `:`, `=`, `/`, brackets and commas.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_between = |letter: char| letter.is_whitespace() || ":=/[](),".contains(letter);
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(is_between) {
        let end = at + word.trim_end_matches(is_between).len();
        let digits = text.get(at..end).unwrap();
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            found.push(at..end);
        }
        at += word.len();
    }
    found
}

#[test]
fn one_number_that_cannot_be_read_is_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (root, mut files) = good_tree(folder.path());
    let host = host_of(&root);
    let is_of_kernel = |path: &PathBuf| {
        let of = |tree: &str| path.starts_with(root.join(tree));
        of("proc") || of("sys") || of("udev")
    };
    files.retain(is_of_kernel);
    let (good, usual) = all_told(&host);
    let cases = (prop::sample::select(files), any::<Index>());
    fuzz::survive("files' values", 64, &cases, |(path, which)| {
        let Ok(text) = fs::read_to_string(&path) else { return };
        let places = numbers(&text);
        if places.is_empty() {
            return;
        }
        let place = places[which.index(places.len())].clone();
        let number = text.get(place.clone()).unwrap();
        let mut spoilt = text.clone();
        spoilt.replace_range(place.clone(), JUNK);
        let _changed = Changed::to(&path, text.clone().into_bytes(), spoilt.as_bytes());
        let (now, unread) = all_told(&host);
        let at = format!("{}, byte {}: {number}", path.display(), place.start);
        // What has the junk in it says what stands there.
        let quoted = |line: &&String| line.contains(JUNK);
        let news = now.difference(&good).filter(|line| !quoted(line));
        let invented: Vec<_> = news.filter(|line| !is_poorer(line, &good)).collect();
        assert!(invented.is_empty(), "{at}: invented {invented:#?}");
        let is_less = good.difference(&now).next().is_some();
        let is_quoted = now.difference(&good).next().is_some();
        assert!(
            !is_less || is_quoted || unread > usual,
            "{at}: {:?} is missing",
            good.difference(&now)
        );
    });
}
