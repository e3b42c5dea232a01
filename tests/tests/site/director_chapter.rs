//! docs/director/README.md, followed line by line.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, process::Command};

use tests::{
    lab::can_load,
    netns::Netns,
    program::binary,
    scratch::{folder, root},
};

/// The texts of a language's blocks in a part of a page.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// The quick start is done in an empty folder, with the server in Python that it shows.
#[test]
fn the_quick_start_of_the_director_can_be_followed() {
    if !can_load("the director's quick start") {
        return;
    }
    let page = fs::read_to_string(root().join("docs/director/README.md")).unwrap();
    let part = page.split("\n## ").find(|part| part.starts_with("Quick start")).unwrap();
    let (machine, folder, zerottl) = (Netns::new().unwrap(), folder().unwrap(), binary().unwrap());
    let (program, file) = (blocks(part, "python"), blocks(part, "toml"));
    fs::write(folder.path().join("server.py"), &program[0]).unwrap();
    fs::write(folder.path().join("zerottl.toml"), &file[0]).unwrap();
    let lines = blocks(part, "sh").concat();
    // A machine with much to do takes longer than a reader.
    let until = "until zerottl director status --config zerottl.toml > status 2>&1; do sleep 0.1; done\n";
    assert!(lines.contains("sleep 2\n"), "{lines}");
    let lines = lines.replace("sleep 2\n", until);
    let mut command = Command::new("bash");
    let path = format!("{}:{}", zerottl.parent().unwrap().display(), std::env::var("PATH").unwrap());
    // `control` is below /run, which is this machine's own.
    command
        .args(["-ec", &format!("mount -t tmpfs run /run\ntrap 'kill %1 || :; wait' EXIT\n{lines}wait\n")])
        .current_dir(folder.path());
    command.env("PATH", path).env("ZEROTTL_LOG", "warn");
    let output = machine.output(command).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}\n{said}\n{errors}");
    for shown in [
        "zerottl.toml: ok",
        "app-1 serves 127.0.0.1",
        "app-2 serves 127.0.0.1",
        "the kernel chooses; listens on 127.0.0.1:8080",
        "ended by signal 9",
        "app-1, app-2: restart",
        " 1 relayed",
    ] {
        assert!(said.contains(shown), "{shown}:\n{said}\n{errors}");
    }
}
