//! The modules of a crate, and which file uses names of which.
//!
//! Paths are read as text: `use` trees, paths in code and paths in string literals (`#[serde(with = "crate::x")]`). A name
//! that a module only re-exports belongs to the module that defines it. Methods, and names that macros make, are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Package, Tree, is_test_file,
    tokens::{Token, group, tokens, without_tests},
};

/// The names that tie one file to another: `(from, to)` and what `from` uses of `to`.
pub type Ties = BTreeMap<(String, String), BTreeSet<String>>;

/// A path of modules from the crate's root.
type ModPath = Vec<String>;

/// How far re-exports of re-exports are followed.
const HOPS_MAX: u32 = 16;

/// The modules under one root file, such as `src/lib.rs`.
#[derive(Debug, Default)]
pub struct Modules {
    all: BTreeMap<ModPath, Module>,
    /// Macros that are reached by the crate's root, by the modules that define them.
    exported_macros: BTreeMap<String, ModPath>,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    /// The names of the module's own items.
    declared: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of two segments or more outside of `use`.
    paths: BTreeSet<Vec<String>>,
    /// Every identifier outside of `use` and `mod`.
    words: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Import {
    path: Vec<String>,
    /// The name it gets here; `*` brings all.
    name: String,
    is_public: bool,
}

/// The end of a path.
#[derive(Debug, PartialEq)]
enum Target {
    Module(ModPath),
    Item(ModPath, String),
    /// Another crate's, or a name of the function around it.
    Elsewhere,
}

/// The root files of a package's crates, but for tests, benchmarks and examples.
pub fn roots(tree: &Tree, package: Package<'_>) -> Vec<String> {
    let folder = package.folder;
    let mut found: BTreeSet<String> = ["src/lib.rs", "src/main.rs"].map(|file| format!("{folder}/{file}")).into();
    let programs = format!("{folder}/src/bin/");
    let is_program = |rest: &str| !rest.contains('/') || rest.ends_with("/main.rs");
    let in_folder = |path: &&str| path.strip_prefix(&programs).is_some_and(is_program);
    found.extend(tree.ending(".rs").map(|(path, _)| path).filter(in_folder).map(str::to_owned));
    let named = package.manifest.lines().filter_map(|line| line.strip_prefix("path = \"src/"));
    found.extend(named.map(|rest| format!("{folder}/src/{}", rest.trim_end_matches('"'))));
    found.retain(|path| tree.texts.contains_key(path));
    found.into_iter().collect()
}

impl Modules {
    /// Reads the modules from `root` on.
    #[must_use]
    pub fn read(tree: &Tree, root: &str) -> Self {
        let mut reader = Reader { tree, modules: Self::default() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        reader.file(root, &ModPath::new(), folder);
        reader.modules
    }

    /// The files, with the path of the module that each of them begins.
    #[must_use]
    pub fn files(&self) -> BTreeMap<&str, &[String]> {
        let mut files = BTreeMap::new();
        for (path, module) in &self.all {
            files.entry(module.file.as_str()).or_insert(path.as_slice());
        }
        files
    }

    /// Which file uses names of which.
    #[must_use]
    pub fn ties(&self) -> Ties {
        let mut ties = Ties::new();
        for (path, module) in &self.all {
            let mut tie = |target: Target| {
                if let Target::Item(other, name) = target {
                    let to = &self.all[&other].file;
                    if *to != module.file {
                        ties.entry((module.file.clone(), to.clone())).or_default().insert(name);
                    }
                }
            };
            for segments in &module.paths {
                tie(self.resolve(path, segments, 0));
            }
            for import in &module.imports {
                if import.name == "*" {
                    if let Target::Module(other) = self.resolve(path, &import.path, 0) {
                        let used = module.words.iter().filter(|word| self.has_name(&other, word));
                        let found = used.map(|word| self.member(&other, word, 0));
                        found.filter(|target| self.is_declared(target)).for_each(&mut tie);
                    }
                } else if !import.is_public || module.words.contains(&import.name) {
                    tie(self.resolve(path, &import.path, 0));
                }
            }
        }
        ties
    }

    fn has_name(&self, path: &ModPath, name: &str) -> bool {
        let module = &self.all[path];
        module.declared.contains(name) || module.imports.iter().any(|import| import.name == name)
    }

    /// Whether a module has an item of its own, and not another crate's name, which it imports for itself.
    fn is_declared(&self, target: &Target) -> bool {
        matches!(target, Target::Item(path, name) if self.all[path].declared.contains(name))
    }

    /// Follows `segments` from the module at `from`.
    fn resolve(&self, from: &ModPath, segments: &[String], hops: u32) -> Target {
        let mut at = from.clone();
        let mut rest = segments;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = others;
        }
        // A path that begins with a name: a module's or an import's of this module, or nothing of this crate.
        let is_relative = rest.len() == segments.len();
        for (index, segment) in rest.iter().enumerate() {
            if is_relative && index == 0 && !self.has_name(&at, segment) && self.child(&at, segment).is_none() {
                return Target::Elsewhere;
            }
            // An imported module goes on; so does a module of the same name as an item, where more follows.
            let child = self.child(&at, segment).filter(|_| index + 1 < rest.len() || !self.has_name(&at, segment));
            match child.map_or_else(|| self.member(&at, segment, hops), Target::Module) {
                Target::Module(next) => at = next,
                found => return found,
            }
        }
        Target::Module(at)
    }

    fn child(&self, path: &ModPath, name: &str) -> Option<ModPath> {
        let mut child = path.clone();
        child.push(name.to_owned());
        self.all.contains_key(&child).then_some(child)
    }

    /// A module's item of this name, where it is defined.
    fn member(&self, path: &ModPath, name: &str, hops: u32) -> Target {
        let module = &self.all[path];
        let here = || Target::Item(path.clone(), name.to_owned());
        if module.declared.contains(name) || hops > HOPS_MAX {
            return here();
        }
        if let Some(import) = module.imports.iter().find(|import| import.name == name) {
            return match self.resolve(path, &import.path, hops + 1) {
                // Another crate's name, known here by this module.
                Target::Elsewhere => here(),
                found => found,
            };
        }
        for import in module.imports.iter().filter(|import| import.name == "*") {
            if let Target::Module(other) = self.resolve(path, &import.path, hops + 1)
                && other != *path
                && (self.has_name(&other, name) || self.child(&other, name).is_some())
            {
                return self.child(&other, name).map_or_else(|| self.member(&other, name, hops + 1), Target::Module);
            }
        }
        match self.exported_macros.get(name).filter(|_| path.is_empty()) {
            Some(owner) => Target::Item(owner.clone(), name.to_owned()),
            None => here(),
        }
    }
}

struct Reader<'a> {
    tree: &'a Tree,
    modules: Modules,
}

impl Reader<'_> {
    /// Reads a file as the module at `path`, whose children are in `folder`.
    fn file(&mut self, file: &str, path: &ModPath, folder: &str) {
        let Some(text) = self.tree.texts.get(file).filter(|_| !is_test_file(file)) else { return };
        let tokens = without_tests(&tokens(text));
        if !tokens.is_empty() {
            self.block(file, path, folder, &tokens);
        }
    }

    fn block(&mut self, file: &str, path: &ModPath, folder: &str, tokens: &[Token<'_>]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let (mut at, mut depth, mut own_path) = (0, 0_u32, None);
        while at < tokens.len() {
            let token = tokens[at];
            match token.text {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "path" if text(at + 1) == "=" && text(at.wrapping_sub(1)) == "[" => own_path = Some(text(at + 2)),
                "mod" if text(at + 2) == ";" => {
                    self.child(file, path, folder, text(at + 1), own_path.take());
                    at += 3;
                    continue;
                }
                "mod" if text(at + 2) == "{" => {
                    let length = group(&tokens[at + 2..]);
                    let name = text(at + 1);
                    let inner = &tokens[at + 3..at + 1 + length];
                    self.block(file, &joined(path, name), &format!("{folder}/{name}"), inner);
                    at += 2 + length;
                    continue;
                }
                "use" => {
                    let length = tokens[at..].iter().take_while(|token| token.text != ";").count();
                    let is_public = matches!(text(at.wrapping_sub(1)), "pub" | ")");
                    let trees = &tokens[at + 1..at + length];
                    use_trees(trees, &[], &mut |path, name| {
                        module.imports.push(Import { path, name, is_public });
                    });
                    at += length + 1;
                    continue;
                }
                "macro_rules" if text(at + 1) == "!" => {
                    module.declared.insert(text(at + 2).to_owned());
                    let before = tokens[..at].iter().rev().take(3).map(|token| token.text);
                    if before.eq(["]", "macro_export", "["]) {
                        self.modules.exported_macros.insert(text(at + 2).to_owned(), path.clone());
                    }
                }
                word if depth == 0 && DECLARING.contains(&word) && is_name(text(at + 1)) => {
                    module.declared.insert(text(at + 1).to_owned());
                }
                literal if literal.starts_with('"') => {
                    let segments: Vec<String> = literal.trim_matches('"').split("::").map(str::to_owned).collect();
                    let begins = ["crate", "self", "super"].contains(&segments[0].as_str());
                    if begins && segments.len() > 1 && segments.iter().all(|segment| is_name(segment)) {
                        module.paths.insert(segments);
                    }
                }
                _ => {}
            }
            if !token.is_ident() {
                at += 1;
                continue;
            }
            let (segments, length) = path_at(&tokens[at..]);
            module.words.extend(segments.iter().cloned());
            let of_another_crate = text(at.wrapping_sub(1)) == "::";
            if segments.len() > 1 && !of_another_crate {
                module.paths.insert(segments);
            }
            at += length;
        }
        self.modules.all.insert(path.clone(), module);
    }

    fn child(&mut self, file: &str, path: &ModPath, folder: &str, name: &str, own_path: Option<&str>) {
        if let Some(own_path) = own_path {
            let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            let found = resolved(&format!("{beside}/{}", own_path.trim_matches('"')));
            let folder = found.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            self.file(&found, &joined(path, name), &folder);
            return;
        }
        let inner = format!("{folder}/{name}");
        for found in [format!("{inner}.rs"), format!("{inner}/mod.rs")] {
            self.file(&found, &joined(path, name), &inner);
        }
    }
}

const DECLARING: [&str; 9] = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro"];

fn is_name(text: &str) -> bool {
    Token { text, line: 0 }.is_ident() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn joined(path: &ModPath, name: &str) -> ModPath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// A path without `..` and `.`.
fn resolved(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The path that begins here, and how many tokens it has.
fn path_at(tokens: &[Token<'_>]) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[0].text.to_owned()];
    let mut at = 1;
    while tokens.get(at).is_some_and(|token| token.text == "::")
        && let Some(token) = tokens.get(at + 1).filter(|token| token.is_ident())
    {
        segments.push(token.text.to_owned());
        at += 2;
    }
    (segments, at)
}

/// Gives each path of a `use` declaration with the name that it gets.
fn use_trees(tokens: &[Token<'_>], before: &[String], give: &mut impl FnMut(Vec<String>, String)) {
    let mut at = 0;
    while at < tokens.len() {
        let mut path = before.to_vec();
        let mut name = None;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "," => break,
                "{" => {
                    let length = group(&tokens[at..]);
                    use_trees(&tokens[at + 1..at + length - 1], &path, give);
                    at += length;
                    name = Some(String::new());
                }
                "as" => {
                    name = tokens.get(at + 1).map(|token| token.text.to_owned());
                    at += 2;
                }
                "*" => {
                    name = Some("*".to_owned());
                    at += 1;
                }
                "::" | "$" => at += 1,
                segment => {
                    path.push(segment.to_owned());
                    at += 1;
                }
            }
        }
        at += 1;
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = name.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
        if !name.is_empty() {
            give(path, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each tie as `from -> to: names`, with files named from `a/src/`.
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let texts = files.iter().map(|(path, text)| (format!("a/src/{path}"), (*text).to_owned())).collect();
        let tree = Tree { texts, ..Tree::default() };
        let short = |file: &str| file.trim_start_matches("a/src/").to_owned();
        let ties = Modules::read(&tree, "a/src/lib.rs").ties();
        let found = ties.iter().map(|((from, to), names)| {
            format!("{} -> {}: {}", short(from), short(to), names.iter().cloned().collect::<Vec<_>>().join(" "))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn uses_paths_and_literals_tie() {
        let b = "use crate::{c::{C, self}, d as e}; fn f(x: e::D) { super::c::g(); c::h(); std::mem::take(x) }";
        let ties = ["b.rs -> c.rs: C g h i", "b.rs -> d.rs: D"];
        let b = format!("{b} #[serde(with = \"crate::c::i\")] struct S;");
        check(
            &[("lib.rs", "mod b; pub mod c; mod d;"), ("b.rs", &b), ("c.rs", "fn g() {}"), ("d.rs", "pub struct D;")],
            &ties,
        );
    }

    #[test]
    fn a_re_export_belongs_to_its_definition() {
        let lib = "mod p; mod u;";
        let p = "mod c; mod d; pub use c::C; pub(crate) use d::*;";
        let files = [
            ("lib.rs", lib),
            ("p/mod.rs", p),
            ("p/c.rs", "use super::D; pub struct C(D);"),
            ("p/d.rs", "pub struct D;"),
            ("u.rs", "use crate::p; fn f(_: p::C, _: crate::p::D) {}"),
        ];
        check(&files, &["p/c.rs -> p/d.rs: D", "u.rs -> p/c.rs: C", "u.rs -> p/d.rs: D"]);
    }

    #[test]
    fn a_parent_is_tied_by_its_own_code_only() {
        let child = ("p/c.rs", "use super::Own; pub struct C(Own);");
        let lib = ("lib.rs", "mod p;");
        check(&[lib, ("p.rs", "mod c; pub use c::C; pub struct Own;"), child], &["p/c.rs -> p.rs: Own"]);
        let both = ["p.rs -> p/c.rs: C", "p/c.rs -> p.rs: Own"];
        check(&[lib, ("p.rs", "mod c; pub use c::C; pub struct Own; fn f(_: C) {}"), child], &both);
        check(&[lib, ("p.rs", "mod c; pub struct Own; fn f() { c::C::new() }"), child], &both);
    }

    #[test]
    fn tests_and_inline_modules_do_not_tie() {
        let lib =
            "mod b; mod inner { use super::b::B; } #[cfg(test)] mod tests; #[cfg(test)] mod t { use crate::b::T; }";
        check(&[("lib.rs", lib), ("b.rs", "pub struct B;"), ("tests.rs", "use crate::b::X;")], &["lib.rs -> b.rs: B"]);
    }

    #[test]
    fn a_module_and_an_item_of_one_name_are_told_apart() {
        let files = [
            ("lib.rs", "mod e; mod u; mod m;"),
            ("e/mod.rs", "mod e; pub use e::e;"),
            ("e/e.rs", "pub fn e() {}"),
            ("m.rs", "#[macro_export] macro_rules! made { () => {} }"),
            ("u.rs", "fn f() { crate::e::e(); crate::made!() }"),
        ];
        check(&files, &["u.rs -> e/e.rs: e", "u.rs -> m.rs: made"]);
    }

    #[test]
    fn children_are_found_where_rustc_finds_them() {
        let files = [
            ("lib.rs", "#[path = \"odd/x.rs\"] mod y; mod k;"),
            ("odd/x.rs", "use crate::k::K;"),
            ("k.rs", "mod l { pub mod n; } pub struct K(l::n::N);"),
            ("k/l/n.rs", "pub struct N;"),
        ];
        check(&files, &["k.rs -> k/l/n.rs: N", "odd/x.rs -> k.rs: K"]);
    }

    #[test]
    fn roots_are_the_crates_of_a_package() {
        let paths =
            ["a/src/lib.rs", "a/src/bin/one.rs", "a/src/bin/two/main.rs", "a/src/bin/two/x.rs", "a/src/extra.rs"];
        let texts = paths.map(|path| (path.to_owned(), String::new())).into();
        let tree = Tree { texts, ..Tree::default() };
        let package = Package { folder: "a", manifest: "[[bin]]\npath = \"src/extra.rs\"\n" };
        let mut expected: Vec<_> = paths.iter().filter(|path| !path.ends_with("x.rs")).copied().collect();
        expected.sort_unstable();
        assert_eq!(roots(&tree, package), expected);
    }
}
