//! The guards of the scripts that session servers run, each by a case that only it refuses.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use tests::{
    redis::RedisServer,
    scratch::{find_tool, root},
};

const ID: &str = "AAECAwQFBgcICQoLDA0ODw";

struct ScriptServer(RedisServer);

impl ScriptServer {
    fn ask(&self, command: &str) -> String {
        self.0.ask(command).unwrap()
    }

    /// Runs a script. Returns its answer, words apart by spaces.
    fn run(&self, script: &str, keys: &[&str], arguments: &[&str]) -> String {
        let file = root().join("userspace/session/src/scripts").join(script);
        let mut command = Command::new(find_tool("redis-cli").unwrap());
        command.args(["-p", &self.0.at.port().to_string(), "--eval"]).arg(file).args(keys).arg(",").args(arguments);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A session that `a` owns under epoch 5, whose state 9 is here.
    fn begin(&self) {
        self.ask("FLUSHALL");
        self.ask("SET incarnation one");
        self.ask("SET w:a here");
        self.ask(&format!("HSET s:{ID} epoch 5 owner a number 9 written 5 data nine"));
    }

    fn put(&self, incarnation: &str, owner: &str, epoch: &str, number: &str) -> String {
        let keys = ["incarnation", "newcomer", "o:", &format!("s:{ID}")];
        self.run("put.lua", &keys, &[incarnation, owner, "60000", epoch, number, "new"])
    }

    fn claim(&self, incarnation: &str, owner: &str, epoch: &str, dead: &str) -> String {
        let keys = [&*format!("s:{ID}"), "incarnation", "newcomer", "o:", "unclaimed"];
        self.run("claim.lua", &keys, &[incarnation, epoch, owner, "w:", dead, "60000", "0", ""])
    }

    fn end(&self, incarnation: &str, owner: &str, epoch: &str) -> String {
        let keys = [&*format!("s:{ID}"), "incarnation", "newcomer", "o:", "ended"];
        self.run("end.lua", &keys, &[incarnation, epoch, owner, "60000"])
    }

    fn inspect(&self, incarnation: &str) -> String {
        self.run("inspect.lua", &[&format!("s:{ID}"), "incarnation", "newcomer"], &[incarnation, "w:"])
    }

    fn data(&self) -> String {
        let answer = self.ask(&format!("HGET s:{ID} data"));
        let mut lines = answer.lines();
        if lines.next() == Some("$-1") { String::new() } else { lines.next().unwrap_or_default().to_owned() }
    }
}

/// S0-X-FENCE, S1-X-CONC, S1-X-STALE: whoever is no owner any more, comes from before a restart, comes too late, or comes after the
/// end, changes nothing.
#[test]
fn s0_x_fence_each_guard_of_the_scripts() {
    let server = ScriptServer(RedisServer::start().unwrap());
    // A copy: of the owner, and a newer one.
    server.begin();
    assert_eq!((&*server.put("one", "a", "5", "10"), &*server.data()), ("kept 0", "new"));
    for (incarnation, owner, epoch, number, answer) in [
        ("two", "a", "5", "10", "incarnation one"),
        ("one", "b", "4", "10", "kept 0 0 fenced"),
        ("one", "b", "5", "10", "kept 0 0 fenced"),
        // It came late: what is here is newer.
        ("one", "a", "5", "8", "kept 0"),
    ] {
        server.begin();
        let case = format!("{incarnation} {owner} {epoch} {number}");
        assert_eq!((&*server.put(incarnation, owner, epoch, number), &*server.data()), (answer, "nine"), "{case}");
    }
    // A claim: of somebody else while the owner lives, or by too low an epoch.
    for (incarnation, owner, epoch, dead, answer) in [
        ("one", "a", "6", "", "claimed 9 5 0 0"),
        ("one", "b", "6", "a", "claimed 9 5 0 0"),
        ("one", "b", "6", "", "owned 5 a here"),
        ("one", "a", "5", "", "higher 5 a here"),
        ("two", "a", "6", "", "incarnation one"),
    ] {
        server.begin();
        assert_eq!(server.claim(incarnation, owner, epoch, dead), answer, "{incarnation} {owner} {epoch} {dead}");
    }
    // An end.
    for (incarnation, owner, epoch, answer) in [
        ("one", "a", "5", "kept 0"),
        // Passed on: it is final, whoever may have claimed the session here.
        ("one", "", "5", "kept 0"),
        ("one", "", "4", "kept 0"),
        ("one", "b", "5", "fenced"),
        ("one", "b", "4", "fenced"),
        ("two", "a", "5", "incarnation one"),
    ] {
        server.begin();
        assert_eq!(server.end(incarnation, owner, epoch), answer, "{incarnation} {owner} {epoch}");
    }
    // After it.
    server.begin();
    assert_eq!(server.end("one", "a", "5"), "kept 0");
    assert_eq!(server.put("one", "a", "9", "99"), "kept 0 0 ended");
    assert_eq!((&*server.claim("one", "a", "9", ""), &*server.inspect("one")), ("ended", "ended"));
    assert_eq!(server.data(), "");
    // A server that has lost all counts for nothing before it has been filled again.
    server.begin();
    server.ask("SET newcomer 1");
    assert_eq!((&*server.claim("one", "a", "6", ""), &*server.inspect("one")), ("newcomer", "newcomer"));
    assert_eq!(server.inspect("two"), "incarnation one");
    assert_eq!(server.put("one", "a", "5", "10"), "kept 1", "it is filled");
}

/// S1-7: the first claim at a server ends what says that there was none.
#[test]
fn s1_7_a_claim_ends_the_mark_of_a_new_server() {
    let server = ScriptServer(RedisServer::start().unwrap());
    let renew = |all_new: &str, run: &str| {
        let keys = ["w:a", "incarnation", "newcomer", "workers", "run", "unclaimed"];
        server.run("renew.lua", &keys, &["here", "60000", "one", all_new, "60000", "0", "a", run])
    };
    let is_unclaimed = || server.ask("EXISTS unclaimed").starts_with(":1");
    assert_eq!((&*renew("1", "run"), is_unclaimed()), ("one 0 0", true));
    assert_eq!((&*renew("0", "run"), is_unclaimed()), ("one 1 0", true), "another worker, or a later beat");
    assert!(server.claim("one", "a", "1", "").starts_with("claimed"));
    assert!(!is_unclaimed());
    server.ask("SET unclaimed 1");
    assert_eq!((&*renew("0", "another"), is_unclaimed()), ("one 1 1", false), "it was started again");
}
