//! Holds the code against ARCHITECTURE.md: each module imports what its row of the layer table
//! says, downwards only, and each guarded library is named in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Crate name as the table has it, its folder, and its name in paths.
const CRATES: [(&str, &str, &str); 8] = [
    ("agent", "agent", "upkeep_agent"),
    ("collector", "collector", "upkeep_collector"),
    ("store", "collector/store", "upkeep_store"),
    ("promql", "collector/promql", "upkeep_promql"),
    ("wire", "proto/wire", "upkeep_wire"),
    ("config", "proto/config", "upkeep_config"),
    ("codec", "proto/codec", "upkeep_codec"),
    ("model", "proto/model", "upkeep_model"),
];

/// The crates whose modules the layer table lists; the others are small.
const LAYERED: [&str; 2] = ["agent", "collector"];

#[test]
fn modules_import_what_the_layer_table_says() {
    let table = Table::read();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, folder, path_name) in CRATES.iter().filter(|one| LAYERED.contains(&one.0)) {
        for (module, imports) in imports_of(folder, path_name) {
            let module = format!("{name}::{module}");
            seen.insert(module.clone());
            let Some(row) = table.layers.iter().find(|row| row.module == module) else {
                faults.push(format!("{module} has no row in the layer table"));
                continue;
            };
            let actual: BTreeSet<String> = imports.into_keys().collect();
            for extra in actual.difference(&row.imports) {
                faults.push(format!("{module} imports {extra}, which its row does not name"));
            }
            for gone in row.imports.difference(&actual) {
                faults.push(format!("{module} does not import {gone}, which its row names"));
            }
        }
    }
    let named: BTreeSet<String> = table.layers.iter().map(|row| row.module.clone()).collect();
    for gone in named.difference(&seen) {
        faults.push(format!("the layer table names {gone}, which does not exist"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rows_of_the_layer_table_import_only_rows_below_them() {
    let table = Table::read();
    let place = |module: &str| table.layers.iter().position(|row| row.module == module);
    let mut faults = Vec::new();
    for (index, row) in table.layers.iter().enumerate() {
        let crate_name = row.module.split("::").next().unwrap();
        for import in &row.imports {
            match place(&format!("{crate_name}::{import}")) {
                Some(at) if at > index => {}
                Some(_) => {
                    faults.push(format!("{} imports {import}, which is above it", row.module))
                }
                None => faults.push(format!("{} imports {import}, which has no row", row.module)),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn guarded_libraries_are_named_only_where_the_table_says() {
    let table = Table::read();
    assert!(!table.guards.is_empty(), "ARCHITECTURE.md has no table of guarded libraries");
    let mut actual: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, folder, _) in CRATES {
        for file in sources(folder) {
            let module = module_of(&file, folder);
            let mut names = Names::default();
            names.visit_file(&parse(&file));
            for library in table.guards.keys().filter(|one| names.roots.contains(*one)) {
                actual.entry(library).or_default().insert(place_of(name, &module));
            }
        }
    }
    let mut faults = Vec::new();
    for (library, places) in &table.guards {
        let found = actual.remove(library.as_str()).unwrap_or_default();
        if found != *places {
            faults.push(format!("{library} is used in {found:?}, the table says {places:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn crates_depend_on_each_other_downwards_only() {
    let mut faults = Vec::new();
    for (index, (name, folder, _)) in CRATES.iter().enumerate() {
        let text = std::fs::read_to_string(top().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for (above, (other, _, path_name)) in CRATES.iter().enumerate() {
            if above <= index && dependencies.contains_key(&path_name.replace('_', "-")) {
                faults.push(format!("{name} depends on {other}, which is above it"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

struct Row {
    module: String,
    imports: BTreeSet<String>,
}

#[derive(Default)]
struct Table {
    layers: Vec<Row>,
    guards: BTreeMap<String, BTreeSet<String>>,
}

impl Table {
    /// Rows of `| module | imports | … |` with a `::` in the first cell are layers; rows under the
    /// heading "Guarded libraries" are guards.
    fn read() -> Self {
        let text = std::fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
        let mut table = Self::default();
        let mut heading = "";
        for line in text.lines() {
            if line.starts_with('#') {
                heading = line;
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [first, second, ..] = cells.as_slice() else { continue };
            let Some(first) = first.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'))
            else {
                continue;
            };
            let names = second.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            if heading.ends_with("Guarded libraries") {
                table.guards.insert(first.to_owned(), names);
            } else if first.contains("::") {
                table.layers.push(Row { module: first.to_owned(), imports: names });
            }
        }
        table
    }
}

/// Every module of a crate with the modules of the same crate that it imports.
fn imports_of(folder: &str, path_name: &str) -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let mut all: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in sources(folder) {
        let module = module_of(&file, folder);
        if module == "lib" {
            continue;
        }
        let mut names = Names { own_crate: path_name.to_owned(), ..Names::default() };
        names.visit_file(&parse(&file));
        let imports = all.entry(module.clone()).or_default();
        for name in names.own.into_iter().filter(|name| *name != module) {
            imports.insert(name, file.clone());
        }
    }
    all
}

/// First segments of all paths, and the modules of the own crate that paths lead into.
#[derive(Default)]
struct Names {
    own_crate: String,
    own: BTreeSet<String>,
    roots: BTreeSet<String>,
}

impl Names {
    fn take(&mut self, segments: &[String]) {
        let Some(root) = segments.first() else { return };
        self.roots.insert(root.clone());
        if (root == "crate" || *root == self.own_crate)
            && let Some(module) = segments.get(1)
        {
            self.own.insert(module.clone());
        }
    }

    fn take_tree(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.take_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, prefix);
                }
            }
            syn::UseTree::Name(name) => self.take(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.take(&with(&rename.ident)),
            _ => self.take(prefix),
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let only_for_tests = matches!(item, syn::Item::Mod(module)
            if module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg")));
        if !only_for_tests {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.take_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A path of one segment is a local name, never a way into another module.
        if path.segments.len() > 1 {
            let segments: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.take(&segments);
        }
        syn::visit::visit_path(self, path);
    }
}

fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).unwrap();
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    walkdir::WalkDir::new(top().join(folder).join("src"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The top module that a file belongs to.
fn module_of(file: &Path, folder: &str) -> String {
    let inside = file.strip_prefix(top().join(folder).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Layered crates guard by module, the small ones as a whole.
fn place_of(crate_name: &str, module: &str) -> String {
    if LAYERED.contains(&crate_name) {
        format!("{crate_name}::{module}")
    } else {
        crate_name.to_owned()
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
