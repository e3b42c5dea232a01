//! docs/site/sessions.md, followed line by line.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    process::{Command, Output},
};

use tests::{
    lab::can_run,
    netns::Netns,
    program::binary,
    scratch::{folder, root},
};

/// The texts of a language's blocks in a part of the page.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/site/sessions.md")).unwrap();
    let part = page.split("\n## ").find(|part| part.starts_with(heading)).unwrap();
    let fence = format!("\n```{language}\n");
    part.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

fn bash(machine: &Netns, folder: &std::path::Path, lines: &str) -> Output {
    let zerottl = binary().unwrap();
    let path = format!("{}:{}", zerottl.parent().unwrap().display(), std::env::var("PATH").unwrap());
    // Whatever becomes of it, nothing of it is left, whose output would be waited for.
    let lines = format!("trap 'kill -9 $(jobs -p; cat redis-*/pid) 2> /dev/null || :' EXIT\n{lines}");
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-ec", &lines]).current_dir(folder).env("PATH", path).env("ZEROTTL_LOG", "warn");
    machine.output(command).unwrap()
}

/// Returns the lines of the quick start, which go on once the workers have their leases. A machine with much to do takes longer
/// than a reader.
fn start() -> String {
    let lines = blocks("Quick start", "sh").concat();
    assert!(lines.contains("sleep 3\n"), "{lines}");
    let until = |port: u16| {
        let asked = format!("zerottl session status --json --at 127.0.0.1:{port} 2> /dev/null");
        // All of them count.
        format!("until {asked} | grep '\"has_lease\":true' | grep -vq '\"state\":\"new\"'; do sleep 0.1; done\n")
    };
    lines.replace("sleep 3\n", &(until(8054) + &until(8055)))
}

/// The quick start is done in an empty folder; no session is lost in it but the one that is ended.
#[test]
fn the_quick_start_of_sessions_can_be_followed() {
    if !can_run("the quick start of sessions") {
        return;
    }
    let (machine, folder) = (Netns::new().unwrap(), folder().unwrap());
    fs::write(folder.path().join("zerottl.toml"), &blocks("Quick start", "toml")[0]).unwrap();
    let output = bash(&machine, folder.path(), &start());
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for shown in [
        "zerottl.toml: ok\n",
        "HTTP/1.1 204 No Content",
        "one appleone appleAAECAwQFBgcICQoLDA0ODw: hosted by here.",
        "number 1, tag 1-fd275955c4e73ee3, 9 bytes\n127.0.0.1:6393 has the newest state; 127.0.0.1:6391 has",
        // After the death of its worker, and then of a session server.
        "has the newest state\none appletwo apples",
        ": 1 session, 2 copies of each, write ack-all\n10 bytes; all have all their copies\n",
        "127.0.0.1:6391  DOWN ",
        "{\"error\":\"ended\",\"message\":\"the session has ended\"}",
    ] {
        assert!(said.contains(shown), "{shown}:\n{said}\n{errors}");
    }
    assert!(errors.contains("failure domain"), "{errors}");
}

/// Redis as the page would have it is enough for a worker, and its user may do nothing else; the Python function loses no change
/// of two that are made at once.
#[test]
fn the_settings_and_the_function_of_the_page_do_what_it_says() {
    if !can_run("Redis as the page would have it") {
        return;
    }
    let (machine, folder) = (Netns::new().unwrap(), folder().unwrap());
    let place = |name: &str| folder.path().join(name);
    let quick = &blocks("Quick start", "toml")[0];
    let servers = quick.lines().find(|line| line.starts_with("servers")).unwrap();
    let with_user = "servers = [\"redis://zerottl@127.0.0.1:6391\"]\nservers_password = \"password\"\ncopies = 1\n";
    fs::write(place("zerottl.toml"), quick.replace(servers, with_user).replace("ack-all", "ack-one")).unwrap();
    fs::write(
        place("redis.conf"),
        format!("port 6391\ndir {}\n{}", folder.path().display(), blocks("Redis", "redis")[0]),
    )
    .unwrap();
    fs::write(place("password"), "a-long-password\n").unwrap();
    let function = &blocks("For developers", "python")[0];
    let more = "from threading import Thread\n\
         url = \"http://127.0.0.1:8054/v1/session/AAECAwQFBgcICQoLDA0ODw\"\n\
         add = lambda before: str(int(before or 0) + 1).encode()\n\
         threads = [Thread(target=lambda: [change(url, add) for _ in range(50)]) for _ in range(2)]\n\
         [one.start() for one in threads]\n\
         [one.join() for one in threads]\n\
         print(urllib.request.urlopen(url).read())\n";
    fs::write(place("change.py"), format!("{function}{more}")).unwrap();
    let cli = "redis-cli -p 6391 --no-auth-warning --user zerottl --pass a-long-password";
    let lines = format!(
        "redis-server redis.conf > /dev/null &\nhead -c 32 /dev/urandom > session.key\nzerottl site --config zerottl.toml --as here &\n\
         until zerottl session status --json --config zerottl.toml 2> /dev/null | grep -q '\"has_lease\":true'; do sleep 0.1; done\n\
         python3 change.py\n{cli} CONFIG GET dir\n{cli} SET other 1\n{cli} FLUSHALL\nredis-cli -p 6391 PING\nkill %2 %1\n"
    );
    let output = bash(&machine, folder.path(), &lines);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("b'100'"), "{said}\n{errors}");
    assert_eq!(said.matches("NOPERM").count(), 3, "{said}\n{errors}");
    assert!(said.contains("NOAUTH"), "{said}");
}
