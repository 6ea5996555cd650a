//! What users meet when they write configuration files.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::path::Path;

use serde::Deserialize;
use upkeep_config::load;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Settings {
    interval: u32,
    name: String,
    hosts: Vec<String>,
    buffer: Buffer,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Buffer {
    limit: u64,
    path: String,
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(folder.join("conf.d")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn drop_ins_are_merged_over_the_main_file_in_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("main.toml", "interval = 10\nhosts = ['a', 'b']\n[buffer]\nlimit = 1\npath = 'x'\n"),
            ("conf.d/20-last.toml", "[buffer]\nlimit = 3\n"),
            ("conf.d/10-first.toml", "hosts = ['c']\n[buffer]\nlimit = 2\n"),
            ("conf.d/ignored.txt", "not toml at all ="),
        ],
    );
    let settings: Settings = load(&folder.path().join("main.toml")).unwrap();
    let buffer = Buffer { limit: 3, path: "x".into() };
    let expect = Settings { interval: 10, name: String::new(), hosts: vec!["c".into()], buffer };
    assert_eq!(settings, expect);
}

#[test]
fn all_faults_are_told_at_once_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("main.toml", "interval = 'soon'\nnmae = 'x'\n[buffer]\nlimit = -1\nsize = 2\n"),
            ("conf.d/a.toml", "# a drop-in\nhosts = 5\n"),
            ("conf.d/b.toml", "interval = \n"),
        ],
    );
    let error = load::<Settings>(&folder.path().join("main.toml")).unwrap_err();
    let places: Vec<_> = error
        .faults
        .iter()
        .map(|fault| {
            let file = fault.path.file_name().unwrap().to_str().unwrap();
            (file, fault.line.unwrap(), fault.key.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(
        places,
        [
            ("main.toml", 1, "interval"),
            ("main.toml", 2, "nmae"),
            ("main.toml", 4, "buffer.limit"),
            ("main.toml", 5, "buffer.size"),
            ("a.toml", 2, "hosts"),
            ("b.toml", 1, ""),
        ]
    );
    assert!(error.to_string().contains("main.toml:2: nmae: no such setting"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = load::<Settings>(&folder.path().join("absent.toml")).unwrap_err();
    assert!(error.to_string().contains("absent.toml: "), "{error}");
}
