//! `cargo xtask dist`: a tarball and a Debian package. The same sources and the same binary give the same bytes: all times
//! are `SOURCE_DATE_EPOCH`'s, or the last commit's.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    cargo::{step, target_dir},
    host,
    requirements::Task,
    setup::setup,
    tasks,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The package's own revision: counts packagings of one version.
const REVISION: &str = "1";
/// Unless `DEBFULLNAME` and `DEBEMAIL` say otherwise, as for all of Debian's tools.
const MAINTAINER: (&str, &str) = ("The zerottl authors", "authors@zerottl.invalid");
/// Shells, with where Debian's look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/zerottl"),
    ("zsh", "usr/share/zsh/vendor-completions/_zerottl"),
    ("fish", "usr/share/fish/vendor_completions.d/zerottl.fish"),
];
/// Files under /etc. The configuration as installed is the README's example, which has to be changed before the start.
const CONFFILES: [(&str, &str); 2] =
    [("examples/appendix-a.toml", "etc/zerottl/zerottl.toml"), ("examples/app.com.zone", "etc/zerottl/app.com.zone")];
const UNITS: [&str; 3] = ["zerottl.service", "zerottl-site@.service", "zerottl-director@.service"];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes both; from `binary` if given, else from one that it builds. They go to `out`, or to `target/dist`.
pub fn dist(root: &Path, binary: Option<PathBuf>, out: Option<PathBuf>) -> Result<(), String> {
    let target = target_dir().map_err(|error| error.to_string())?;
    let binary = if let Some(binary) = binary {
        binary
    } else {
        setup(Task::Dist, root)?;
        tasks::build(root)?;
        target.join("release/zerottl")
    };
    let out = out.unwrap_or_else(|| target.join("dist"));
    let place = out.join("stage");
    let made = make(root, &binary, &out, &place);
    // What was staged serves nobody afterwards, whether it was packed or not.
    let _ = fs::remove_dir_all(&place);
    for file in made? {
        println!("{}", file.display());
    }
    Ok(())
}

fn make(root: &Path, binary: &Path, out: &Path, place: &Path) -> Result<[PathBuf; 2], String> {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
    let parts = Parts::gather(root, binary, place)?;
    let epoch = epoch(root)?;
    Ok([tarball(&parts, out, place, &epoch)?, package(&parts, out, place, &epoch)?])
}

/// The time that all files bear, seconds since 1970.
fn epoch(root: &Path) -> Result<String, String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let text = read(Command::new("git").arg("-C").arg(root).args(["log", "-1", "--format=%ct"]));
    text.map(|text| text.trim().to_owned())
        .map_err(|error| format!("SOURCE_DATE_EPOCH is not set and the last commit's time not known: {error}"))
}

/// The parts that both are made of.
struct Parts<'a> {
    root: &'a Path,
    /// The binary without debugging information.
    stripped: PathBuf,
    /// Man pages, by their names.
    manuals: Vec<(String, Vec<u8>)>,
    /// Completions, in the order of [`COMPLETIONS`].
    completions: Vec<String>,
}

impl<'a> Parts<'a> {
    fn gather(root: &'a Path, binary: &Path, place: &Path) -> Result<Self, String> {
        let stripped = place.join("zerottl");
        run(Command::new("strip")
            .args(["--strip-unneeded", "--remove-section=.comment", "-o"])
            .args([&stripped])
            .arg(binary))?;
        let manual_dir = place.join("man");
        fs::create_dir(&manual_dir).map_err(|error| error.to_string())?;
        run(Command::new(binary).arg("man").arg(&manual_dir))?;
        let entries = fs::read_dir(&manual_dir).map_err(|error| error.to_string())?;
        let page = |entry: io::Result<fs::DirEntry>| -> io::Result<(String, Vec<u8>)> {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?))
        };
        let manuals: io::Result<Vec<_>> = entries.map(page).collect();
        let mut manuals = manuals.map_err(|error| error.to_string())?;
        manuals.sort();
        let completions = COMPLETIONS.map(|(shell, _)| read(Command::new(binary).args(["completions", shell])));
        Ok(Self { root, stripped, manuals, completions: completions.into_iter().collect::<Result<_, _>>()? })
    }

    fn source(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(self.root.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    fn unit(&self, name: &str) -> Result<Vec<u8>, String> {
        self.source(&format!("packaging/systemd/{name}"))
    }

    fn binary(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.stripped).map_err(|error| error.to_string())
    }

    /// Files of a directory of the repository, by their names.
    fn sources(&self, dir: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let entries = fs::read_dir(self.root.join(dir)).map_err(|error| format!("{dir}: {error}"))?;
        let files = entries.flatten().filter(|entry| entry.path().is_file());
        let mut names: Vec<_> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.into_iter().map(|name| Ok((name.clone(), self.source(&format!("{dir}/{name}"))?))).collect()
    }

    /// The examples that the chapters link to, by paths below `examples`.
    fn examples(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut all = self.sources("examples")?;
        for below in ["hooks", "servers"] {
            let files = self.sources(&format!("examples/{below}"))?;
            all.extend(files.into_iter().map(|(name, bytes)| (format!("{below}/{name}"), bytes)));
        }
        Ok(all)
    }

    /// The README and the other documents at the root of the repository.
    fn documents(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut all = self.sources(".")?;
        all.retain(|(name, _)| Path::new(name).extension().is_some_and(|extension| extension == "md"));
        Ok(all)
    }

    /// The chapters and their pictures, all that is below `docs`, by paths relative to the README.
    fn chapters(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut all = Vec::new();
        let mut open = vec!["docs".to_owned()];
        while let Some(dir) = open.pop() {
            all.extend(self.sources(&dir)?.into_iter().map(|(name, bytes)| (format!("{dir}/{name}"), bytes)));
            let entries = fs::read_dir(self.root.join(&dir)).map_err(|error| format!("{dir}: {error}"))?;
            let folders = entries.flatten().filter(|entry| entry.path().is_dir());
            open.extend(folders.map(|entry| format!("{dir}/{}", entry.file_name().to_string_lossy())));
        }
        Ok(all)
    }

    /// The files that monitoring reads, where the repository has them; not what tests them.
    fn monitoring(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut files = Vec::new();
        for dir in ["grafana", "prometheus"] {
            let path = format!("packaging/{dir}");
            if self.root.join(&path).is_dir() {
                let found = self.sources(&path)?.into_iter().filter(|(name, _)| !name.contains("_test."));
                files.extend(found.map(|(name, bytes)| (format!("{dir}/{name}"), bytes)));
            }
        }
        Ok(files)
    }
}

/// A man page's section: the end of its name.
fn section(page: &str) -> &str {
    page.rsplit('.').next().unwrap_or("1")
}

fn tarball(parts: &Parts, out: &Path, place: &Path, epoch: &str) -> Result<PathBuf, String> {
    let name = format!("zerottl-{VERSION}-{}-linux", env::consts::ARCH);
    let tree = Tree(place.join(&name));
    tree.put("bin/zerottl", &parts.binary()?, 0o755)?;
    for (page, bytes) in &parts.manuals {
        tree.put(&format!("share/man/man{}/{page}", section(page)), bytes, 0o644)?;
    }
    for ((_, path), text) in COMPLETIONS.iter().zip(&parts.completions) {
        tree.put(path.trim_start_matches("usr/"), text.as_bytes(), 0o644)?;
    }
    for unit in UNITS {
        tree.put(unit, &parts.unit(unit)?, 0o644)?;
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        tree.put(licence, &parts.source(licence)?, 0o644)?;
    }
    for (document, bytes) in parts.documents()?.into_iter().chain(parts.chapters()?) {
        tree.put(&document, &bytes, 0o644)?;
    }
    for (example, bytes) in parts.examples()? {
        tree.put(&format!("examples/{example}"), &bytes, 0o644)?;
    }
    for (file, bytes) in parts.monitoring()? {
        tree.put(&format!("monitoring/{file}"), &bytes, 0o644)?;
    }
    let file = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", "--mode=go-w"]);
    tar.arg(format!("--mtime=@{epoch}")).args(["--use-compress-program", "gzip -n9", "--create", "--file"]);
    step("tarball", tar.arg(&file).arg("--directory").arg(place).arg(&name))?;
    Ok(file)
}

fn package(parts: &Parts, out: &Path, place: &Path, epoch: &str) -> Result<PathBuf, String> {
    let tree = Tree(place.join("deb"));
    let doc = |file: &str| format!("usr/share/doc/zerottl/{file}");
    tree.put("usr/bin/zerottl", &parts.binary()?, 0o755)?;
    for (page, bytes) in &parts.manuals {
        tree.put_compressed(&format!("usr/share/man/man{}/{page}", section(page)), bytes)?;
    }
    for ((_, path), text) in COMPLETIONS.iter().zip(&parts.completions) {
        tree.put(path, text.as_bytes(), 0o644)?;
    }
    for unit in UNITS {
        tree.put(&format!("lib/systemd/system/{unit}"), &parts.unit(unit)?, 0o644)?;
    }
    for (source, to) in CONFFILES {
        tree.put(to, &parts.source(source)?, 0o644)?;
    }
    tree.put_compressed(&doc("changelog"), &parts.source("CHANGELOG.md")?)?;
    tree.put_compressed(&doc("changelog.Debian"), changelog(epoch)?.as_bytes())?;
    // The changelog is there by the name that Debian gives it.
    for (document, bytes) in parts.documents()?.into_iter().filter(|(name, _)| name != "CHANGELOG.md") {
        tree.put_compressed(&doc(&document), &bytes)?;
    }
    for (chapter, bytes) in parts.chapters()? {
        tree.put(&doc(&chapter), &bytes, 0o644)?;
    }
    let mit = String::from_utf8_lossy(&parts.source("LICENSE-MIT")?).into_owned();
    tree.put(&doc("copyright"), copyright(&mit).as_bytes(), 0o644)?;
    for (example, bytes) in parts.examples()? {
        tree.put(&doc(&format!("examples/{example}")), &bytes, 0o644)?;
    }
    for (file, bytes) in parts.monitoring()? {
        tree.put(&format!("usr/share/zerottl/{file}"), &bytes, 0o644)?;
    }

    let architecture = architecture()?;
    let files = tree.files()?;
    let size: u64 = files.iter().map(|file| fs::metadata(tree.0.join(file)).map_or(0, |meta| meta.len())).sum();
    tree.put("DEBIAN/control", control(&depends(parts, place)?, &architecture, size).as_bytes(), 0o644)?;
    let conffiles = CONFFILES.map(|(_, path)| format!("/{path}\n"));
    tree.put("DEBIAN/conffiles", conffiles.concat().as_bytes(), 0o644)?;
    for script in SCRIPTS {
        tree.put(&format!("DEBIAN/{script}"), &parts.source(&format!("packaging/debian/{script}"))?, 0o755)?;
    }
    let sums = read(Command::new("md5sum").args(&files).current_dir(&tree.0))?;
    tree.put("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;

    let file = out.join(format!("zerottl_{VERSION}-{REVISION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree.0).arg(&file).env("SOURCE_DATE_EPOCH", epoch);
    // Its own word would stand among ours.
    build.stdout(Stdio::null());
    step("Debian package", &mut build)?;
    Ok(file)
}

fn maintainer() -> String {
    let said = |variable, otherwise: &str| env::var(variable).unwrap_or_else(|_| otherwise.to_owned());
    format!("{} <{}>", said("DEBFULLNAME", MAINTAINER.0), said("DEBEMAIL", MAINTAINER.1))
}

/// Debian's name of this machine's architecture.
fn architecture() -> Result<String, String> {
    read(Command::new("dpkg").arg("--print-architecture")).map(|text| text.trim().to_owned())
}

/// The libraries that the binary needs, with the versions that have its symbols.
fn depends(parts: &Parts, place: &Path) -> Result<String, String> {
    // It reads a source package's control file, of which it needs no more than that it is there.
    let tree = Tree(place.join("shlibs"));
    tree.put("debian/control", b"Source: zerottl\n\nPackage: zerottl\nArchitecture: any\n", 0o644)?;
    let mut command = Command::new("dpkg-shlibdeps");
    let binary = fs::canonicalize(&parts.stripped).map_err(|error| error.to_string())?;
    let text = read(command.arg("-O").arg("-e").arg(binary).current_dir(&tree.0))?;
    let libraries = text.trim().strip_prefix("shlibs:Depends=").ok_or("dpkg-shlibdeps says nothing")?;
    Ok(format!("{libraries}, adduser"))
}

fn control(depends: &str, architecture: &str, size: u64) -> String {
    format!(
        "Package: zerottl\nVersion: {VERSION}-{REVISION}\nArchitecture: {architecture}\nMaintainer: {}\n\
         Installed-Size: {}\nDepends: {depends}\nSection: net\nPriority: optional\n\
         Description: DNS load balancing and failover, answered in the kernel\n \
         An authoritative name server that answers each query with the address of one\n place that is up, with a TTL of \
         0, so every query is a fresh decision, made\n from health checks, load reports and the operator's overrides. An \
         XDP program\n decides before the kernel makes a socket buffer; an agent fills its maps.\n `zerottl site` binds \
         web clients to the place they came to.\n .\n \
         Needs Linux 5.18 or later. The service is neither enabled nor started: first\n change \
         /etc/zerottl/zerottl.toml.\n",
        maintainer(),
        size.div_ceil(1024)
    )
}

fn changelog(epoch: &str) -> Result<String, String> {
    let date = read(Command::new("date").args(["-u", "-R", "-d"]).arg(format!("@{epoch}")).env("LC_ALL", "C"))?;
    Ok(format!(
        "zerottl ({VERSION}-{REVISION}) unstable; urgency=medium\n\n  * Version {VERSION}; what changed is in \
         changelog.gz.\n\n -- {}  {date}",
        maintainer()
    ))
}

/// Both licences; Debian has the Apache License's text.
fn copyright(mit: &str) -> String {
    let text = mit.split_once("\n\n").map_or(mit, |(_, rest)| rest);
    let (holder, text) = text.split_once("\n\n").unwrap_or(("", text));
    let indented: String =
        text.lines().map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") }).collect();
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: zerottl\n\n\
         Files: *\nCopyright: {}\nLicense: MIT or Apache-2.0\nComment:\n The XDP program within the \
         binary declares itself GPL to the kernel, as the\n kernel's helpers that it uses require.\n\nLicense: MIT\n\
         {indented}\nLicense: Apache-2.0\n On Debian systems, the text of the Apache License, Version 2.0, is in\n \
         /usr/share/common-licenses/Apache-2.0.\n",
        holder.trim_start_matches("Copyright (c) ")
    )
}

/// A directory that becomes an archive.
struct Tree(PathBuf);

impl Tree {
    /// Writes a file, and the directories above it.
    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), String> {
        let file = self.0.join(path);
        let write = || -> io::Result<()> {
            for dir in file.parent().into_iter().flat_map(Path::ancestors).take_while(|dir| dir.starts_with(&self.0)) {
                fs::create_dir_all(dir)?;
                fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
            }
            fs::write(&file, bytes)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(mode))
        };
        write().map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Writes a file with `.gz`, as Debian wants documents.
    fn put_compressed(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        self.put(path, bytes, 0o644)?;
        run(Command::new("gzip").arg("-n9").arg(self.0.join(path)))
    }

    /// All files, by their paths below the tree, in order.
    fn files(&self) -> Result<Vec<String>, String> {
        let text = read(Command::new("find").args([".", "-type", "f", "-printf", "%P\\n"]).current_dir(&self.0))?;
        let mut files: Vec<_> = text.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    read(command).map(drop)
}

/// Runs a program and gives what it prints.
fn read(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    if !program.contains('/') && host::program(&program).is_none() {
        return Err(format!("{program} is missing; `cargo xtask setup --for dist` installs it"));
    }
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{program}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_in_debian_s_form() {
        let text = copyright("MIT License\n\nCopyright (c) 2026 Them\n\nOne\n\ntwo\n");
        assert!(
            text.contains("\nCopyright: 2026 Them\n") && text.contains("\nLicense: MIT\n One\n .\n two\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_packed_is_there() {
        let root = crate::cargo::root().unwrap();
        let units = UNITS.map(|unit| format!("packaging/systemd/{unit}"));
        let scripts = SCRIPTS.map(|script| format!("packaging/debian/{script}"));
        for path in CONFFILES.map(|(source, _)| source.to_owned()).iter().chain(&scripts).chain(&units) {
            assert!(root.join(path).is_file(), "{path}");
        }
    }
}
