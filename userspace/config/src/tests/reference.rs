//! The examples are valid, and `reference.toml` holds every key there is.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::*;
use crate::tables::Shape;

#[test]
fn every_example_is_valid() {
    let mut seen = 0;
    for entry in fs::read_dir(examples()).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            seen += 1;
            if let Err(error) = load(&path) {
                panic!("{}", error.plain());
            }
        }
    }
    assert!(seen >= 5, "found {seen} examples");
}

/// Every configuration that a document shows is one that is taken: Appendix A's, with what is shown put over it. Files that
/// it names are the reader's own.
#[test]
fn every_configuration_in_the_documents_is_valid() {
    let base: Table =
        fs::read_to_string(examples().join("appendix-a.toml")).expect("readable").parse().expect("Appendix A is TOML");
    let mut seen = 0;
    let mut faults = Vec::new();
    for path in documents(&package().join("../..")) {
        let text = fs::read_to_string(&path).expect("readable");
        for shown in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            seen += 1;
            let mut whole = base.clone();
            put_over(&mut whole, shown.parse().expect("what is shown is TOML"));
            let found = lines(&whole.to_string());
            let found = found.iter().filter(|line| line.contains("error:") && !line.contains("No such file"));
            faults.extend(found.map(|line| format!("{}: {line}", path.display())));
        }
    }
    assert!(seen >= 8, "found {seen} configurations");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The README, and every document below `docs`.
fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.join("README.md")];
    let mut open = vec![root.join("docs")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

fn put_over(whole: &mut Table, shown: Table) {
    for (key, value) in shown {
        if let (Value::Table(shown), Some(Value::Table(inner))) = (&value, whole.get_mut(&key)) {
            put_over(inner, shown.clone());
            continue;
        }
        whole.insert(key, value);
    }
}

/// Every key that the shapes' own `Deserialize` names stands in the reference, and the other way round. A shape that is
/// new must be known to [`Shape::at`], or the reference's table at its place fails this test.
#[test]
fn the_reference_holds_every_key() {
    let text = fs::read_to_string(examples().join("reference.toml")).expect("readable");
    let tree: Table = text.parse().expect("TOML");
    let mut known = BTreeSet::new();
    let mut used = BTreeSet::new();
    walk(&Value::Table(tree), &mut Vec::new(), &mut known, &mut used);
    let missing: Vec<_> = known.difference(&used).collect();
    let surplus: Vec<_> = used.difference(&known).collect();
    assert_eq!((missing, surplus), (vec![], vec![]));
    assert!(
        known.contains("site.*.probe.server_name") && known.contains("site.*.addresses.probe"),
        "the walk goes deep"
    );
}

fn walk(value: &Value, path: &mut Vec<String>, known: &mut BTreeSet<String>, used: &mut BTreeSet<String>) {
    let table = match value {
        Value::Array(items) => return items.iter().filter(|i| i.is_table()).for_each(|i| walk(i, path, known, used)),
        Value::Table(table) => table,
        _ => return,
    };
    let shape = Shape::at(&path.iter().map(String::as_str).collect::<Vec<_>>());
    match shape {
        Some(Shape::Keys(fields, _) | Shape::Shared(fields, _) | Shape::Loose(fields, _)) => {
            known.extend(fields.iter().map(|field| dotted(path, field)));
            used.extend(table.keys().map(|key| dotted(path, key)));
        }
        Some(Shape::Sections) => {}
        Some(Shape::Free) => return,
        None => panic!("Shape::at does not know the table at {path:?}"),
    }
    for (key, inner) in table {
        if let Some(Shape::Shared(fields, _)) = shape
            && !fields.contains(&key.as_str())
        {
            used.remove(&dotted(path, key));
            // A Site's table has the keys of the one it stands in.
            let inner = inner.as_table().expect("a table").clone();
            walk(&Value::Table(inner), path, known, used);
            continue;
        }
        // Sections named by the operator are one place of the file.
        path.push(if matches!(shape, Some(Shape::Sections)) { "*".into() } else { key.clone() });
        walk(inner, path, known, used);
        path.pop();
    }
}

fn dotted(path: &[String], key: &str) -> String {
    path.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".")
}

/// Every key of the reference has a comment above it or above its group of keys.
#[test]
fn the_reference_explains_its_keys() {
    let text = fs::read_to_string(examples().join("reference.toml")).expect("readable");
    let mut explained: BTreeSet<&str> = BTreeSet::new();
    let mut plain: BTreeSet<&str> = BTreeSet::new();
    let mut above = "";
    for line in text.lines() {
        if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let followed = above.starts_with('#') || explained.iter().any(|key| above.split('=').next() == Some(*key));
            if followed {
                explained.insert(key)
            } else {
                plain.insert(key)
            };
        }
        above = line;
    }
    let unexplained: Vec<_> =
        plain.iter().map(|k| k.trim()).filter(|k| !explained.iter().any(|e| e.trim() == *k)).collect();
    assert_eq!(unexplained, Vec::<&str>::new());
}
