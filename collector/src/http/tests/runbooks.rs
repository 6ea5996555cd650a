//! Each shipped rule has a page that its link opens, and each page has a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::world::World;
use crate::http::runbooks::PAGES;

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn files(path: &str) -> Vec<PathBuf> {
    fs::read_dir(folder(path)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn shipped() -> Vec<Rule> {
    let read = |path: PathBuf| {
        serde_saphyr::from_str::<File>(&fs::read_to_string(path).unwrap()).unwrap().groups
    };
    let groups = files("packaging/rules").into_iter().flat_map(read);
    groups.flat_map(|group| group.rules).collect()
}

/// Text of a page, as everybody gets it.
async fn page(world: &World, path: &str) -> String {
    let response = world.request(Method::GET, path, None).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{path}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn the_link_of_each_shipped_rule_opens_its_page_without_a_token() {
    let world = World::plain().await;
    let index = page(&world, "/runbooks").await;
    let mut linked = BTreeSet::new();
    for rule in shipped() {
        let alert = &rule.alert;
        let url = &rule.annotations["runbook_url"];
        let path = url.strip_prefix("{{ externalURL }}").unwrap_or_else(|| panic!("{alert}"));
        let text = page(&world, path).await;
        let shown = format!("`{alert}` ({})", rule.labels["severity"]);
        assert!(text.contains(&shown), "{path} does not say {shown}");
        assert!(index.contains(&shown), "the index does not say {shown}");
        let name = path.strip_prefix("/runbooks/").unwrap().to_owned();
        assert!(index.contains(&format!("({name}.md)")), "the index does not lead to {name}");
        assert_eq!(page(&world, &format!("{path}.md")).await, text);
        linked.insert(name);
    }
    let pages: BTreeSet<_> = PAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(linked, pages, "pages without a rule, or rules without a page");
    let stems = files("docs/runbooks")
        .into_iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let written: BTreeSet<_> = stems.filter(|stem| stem != "README").collect();
    assert_eq!(written, pages, "files that are not served");
}

#[tokio::test]
async fn a_page_that_is_not_there_is_said_so() {
    let world = World::plain().await;
    for path in ["/runbooks/HostSad", "/runbooks/README", "/runbooks/..%2FREADME"] {
        let name = path.strip_prefix("/runbooks/").unwrap().replace("%2F", "/");
        let told = format!("there is no runbook {name:?}");
        world.check_error(path, 404, "not_found", &told).await;
    }
}

#[test]
fn each_page_has_the_parts_that_a_reader_looks_for() {
    for (name, text) in PAGES {
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let parts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let expect = ["Is it real", "Causes", "What to do", "Is it over", "Never again", "Tuning"];
        assert_eq!(parts, expect, "{name}");
        let lines = text.lines().count();
        assert!((20..=60).contains(&lines), "{name}: {lines} lines");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name}");
    }
}
