use std::{fs::File, io::Seek as _, os::fd::AsRawFd as _, thread};

use super::*;

/// A keeper without a worker process: its link is this test's.
fn serve(store: Store, stopping: bool) -> (OwnedFd, thread::JoinHandle<Store>) {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let serve = thread::spawn(move || {
        let command = WorkerCommand { program: PathBuf::new(), arguments: Vec::new() };
        let running = Running { pid: getpid(), link: Some(ours), since: Instant::now(), was_ready: false };
        let mut keeper = Keeper { command: &command, store, running: Some(running), stopping, was_ready: false };
        let mut buffer = vec![0; MESSAGE_MAX];
        while let Some(link) = keeper.running.as_ref().and_then(|running| running.link.as_ref()) {
            let _ = poll(&mut [PollFd::new(link, PollFlags::IN)], None);
            keeper.listen(MESSAGES, &mut buffer);
        }
        keeper.store
    });
    (theirs, serve)
}

#[test]
fn what_is_kept_comes_back() {
    let (link, keeper) = serve(Store::default(), false);
    let (link, kept) = KeeperLink::new(link).unwrap();
    assert!(kept.descriptors.is_empty() && kept.notes.is_empty() && !kept.stopping);
    let file = tempfile::tempfile().unwrap();
    (&file).seek(io::SeekFrom::Start(70)).unwrap();
    for number in 0..600 {
        link.keep(&format!("wait-{number:03}"), &file).unwrap();
        link.note(&format!("pid-{number:03}"), &number.to_string()).unwrap();
    }
    link.keep("wait-000", &file).unwrap();
    link.note("pid-000", "other").unwrap();
    link.release("wait-599").unwrap();
    link.release("nobody").unwrap();
    link.forget("pid-599").unwrap();
    drop(link);
    let store = keeper.join().unwrap();
    assert_eq!((store.descriptors.len(), store.notes.len()), (599, 599));

    let (link, keeper) = serve(store, true);
    let (link, kept) = KeeperLink::new(link).unwrap();
    assert_eq!((kept.descriptors.len(), kept.notes.len(), kept.stopping), (599, 599, true));
    assert_eq!(kept.notes[0], ("pid-000".into(), "other".into()));
    assert_eq!(kept.notes[598], ("pid-598".into(), "598".into()));
    let (name, fd) = kept.descriptors.into_iter().nth(7).unwrap();
    assert_eq!(name, "wait-007");
    assert_eq!(File::from(fd).stream_position().unwrap(), 70, "the same open file");
    // It knows what is there already.
    link.release("wait-007").unwrap();
    drop(link);
    assert!(!keeper.join().unwrap().descriptors.contains_key("wait-007"));
}

#[test]
fn names_and_numbers_are_bounded() {
    let (link, keeper) = serve(Store::default(), false);
    let (link, _) = KeeperLink::new(link).unwrap();
    for name in ["", "a b", "a\n", "\u{e9}", &"x".repeat(message::NAME_MAX + 1)] {
        assert!(matches!(link.note(name, ""), Err(LinkError::Name(_))), "{name:?}");
    }
    assert!(matches!(link.note("a", &"x".repeat(message::TEXT_MAX + 1)), Err(LinkError::Text(_))));
    for number in 0..NOTES_MAX {
        link.note(&number.to_string(), "").unwrap();
    }
    assert!(matches!(link.note("more", ""), Err(LinkError::Full(NOTES_MAX))));
    link.note("0", "again").unwrap();
    link.forget("1").unwrap();
    link.note("more", "").unwrap();
    drop(link);
    let store = keeper.join().unwrap();
    assert_eq!(store.notes.len(), NOTES_MAX);
    assert_eq!(store.notes["0"], "again");
}

/// A worker that says nonsense, or too much, changes nothing and ends nobody.
#[test]
fn a_worker_that_raves_is_borne() {
    let (link, keeper) = serve(Store::default(), false);
    let file = tempfile::tempfile().unwrap();
    for number in 0..=DESCRIPTORS_MAX {
        let text = format!("note {number} x");
        send(&link, text.as_bytes(), None, SendFlags::empty()).unwrap();
    }
    for bytes in [&b"keep"[..], b"keep \xff", b"what", b"keep a", &[b'x'; 2 * MESSAGE_MAX]] {
        send(&link, bytes, None, SendFlags::empty()).unwrap();
    }
    send(&link, b"what", Some(file.as_fd()), SendFlags::empty()).unwrap();
    send(&link, b"keep b", Some(file.as_fd()), SendFlags::empty()).unwrap();
    drop(link);
    let store = keeper.join().unwrap();
    assert_eq!(store.notes.len(), NOTES_MAX);
    assert_eq!(store.descriptors.keys().collect::<Vec<_>>(), ["b"]);
    assert!(store.descriptors["b"].as_raw_fd() >= 0);
}

#[test]
fn a_worker_is_started_again_unless_it_has_stopped() {
    let command = WorkerCommand { program: PathBuf::new(), arguments: Vec::new() };
    let check = |code: Option<i32>, stopping, was_ready, holds: bool, expect: Option<u8>| {
        let mut store = Store::default();
        if holds {
            store.notes.insert("a".into(), String::new());
        }
        let keeper = Keeper { command: &command, store, running: None, stopping, was_ready };
        assert_eq!(keeper.is_final(status(code)), expect, "{code:?} {stopping} {was_ready} {holds}");
    };
    check(Some(0), false, true, true, Some(0));
    check(Some(1), false, false, false, Some(1));
    check(Some(1), false, true, true, None);
    check(Some(1), true, true, true, Some(1));
    check(None, false, false, false, None);
    check(None, true, true, true, None);
    check(None, true, true, false, Some(0));
}

/// The status of a shell that exits with a code, or kills itself.
#[expect(clippy::zombie_processes, reason = "the wait is by its id")]
fn status(code: Option<i32>) -> WaitStatus {
    let text = code.map_or("kill -9 $$".into(), |code| format!("exit {code}"));
    let child = Command::new("/bin/sh").args(["-c", &text]).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    rustix::process::waitpid(pid, WaitOptions::empty()).unwrap().unwrap().1
}
