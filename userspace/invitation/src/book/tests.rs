use proptest::prelude::*;

use super::*;

const STALL: Duration = Duration::from_secs(3);
const HOLD: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

fn book(waiting: usize) -> (InvitationBook, Instant) {
    (InvitationBook::new(BookLimits { stall: STALL, waiting, patience: PATIENCE, hold: HOLD }), Instant::now())
}

#[expect(clippy::unnecessary_wraps, reason = "as the book has it")]
fn session(number: u8, is_new: bool) -> Option<AskedSession> {
    Some(AskedSession { id: SessionId([number; 16]), is_new })
}

const ONE: Channel = Channel(1);
const TWO: Channel = Channel(2);

fn granted(book: &mut InvitationBook) -> Vec<(u64, Channel)> {
    let granted = |event| match event {
        BookEvent::Granted { waiter, channel } => Some((waiter, channel)),
        _ => None,
    };
    book.events().into_iter().filter_map(granted).collect()
}

/// S0-1, S0-2, S0-13, S0-19: a server is asked as often as it has said that it is ready, and not before.
#[test]
fn s0_2_a_request_takes_a_credit() {
    let (mut book, now) = book(2);
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Waits(1), "nobody has invited");
    assert!(book.open(ONE, ("one", "http://a:1"), 0, now));
    assert!(granted(&mut book).is_empty(), "a channel is no invitation");
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Waits(2));
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Full);
    assert_eq!(book.ready(ONE, 1, now), Some(0));
    assert_eq!(granted(&mut book), [(1, ONE)], "the first first");
    book.forget(2);
    assert_eq!(book.ready(ONE, 2, now), Some(2));
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Granted(ONE));
    assert_eq!(book.ask(None, vec![ONE], now), CreditAnswer::Waits(5), "it has been there");
    book.forget(5);
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Granted(ONE));
    assert_eq!(book.ask(None, vec![], now), CreditAnswer::Waits(7));
    book.give_back(ONE, now);
    assert_eq!(granted(&mut book), [(7, ONE)]);
    assert_eq!(book.ready(TWO, 1, now), None);
    assert_eq!(book.ready(ONE, u32::MAX, now), Some(CREDITS_MAX));
}

/// S0-3, S0-4, S0-5: who is silent is asked no more; what waited for it goes to another.
#[test]
fn s0_3_a_silent_server_is_not_asked() {
    let (mut book, now) = book(10);
    book.open(ONE, ("one", "http://a:1"), 1, now);
    assert_eq!(book.ask(session(1, true), vec![], now), CreditAnswer::Granted(ONE));
    assert_eq!(book.ask(session(1, false), vec![], now), CreditAnswer::Waits(2));
    book.open(TWO, ("two", "http://a:2"), 1, now);
    assert!(granted(&mut book).is_empty(), "the session's own server lives");
    book.ready(TWO, 0, now + STALL);
    book.tick(now + STALL);
    assert!(book.events().is_empty());
    let late = now + STALL + Duration::from_millis(1);
    book.tick(late);
    let expect =
        [BookEvent::Closed { channel: ONE, end: ChannelEnd::Stalled }, BookEvent::Granted { waiter: 2, channel: TWO }];
    assert_eq!(book.events(), expect);
    assert_eq!(book.page(late).stalls, 1);
    assert_eq!(book.ready(ONE, 1, late), None, "it has to open another");
}

/// S0-10: a session that another worker had waits for its own server to name it.
#[test]
fn s0_10_a_session_goes_on_after_its_servers_signal() {
    let (mut book, now) = book(10);
    book.open(ONE, ("one", "http://a:1"), 5, now);
    book.open(TWO, ("two", "http://a:2"), 9, now);
    assert_eq!(book.ask(session(7, true), vec![], now), CreditAnswer::Granted(TWO), "nobody has a new one");
    assert_eq!(book.ask(session(8, false), vec![], now), CreditAnswer::Waits(2));
    assert!(book.place(ONE, SessionId([8; 16]), now));
    assert_eq!(granted(&mut book), [(2, ONE)], "where it is, not where the most credits are");
    assert_eq!(book.ask(session(8, false), vec![], now), CreditAnswer::Granted(ONE));
    // Where nobody names it, any server goes on.
    assert_eq!(book.ask(session(9, false), vec![], now), CreditAnswer::Waits(4));
    for channel in [ONE, TWO] {
        book.ready(channel, 0, now + HOLD);
    }
    assert_eq!(granted(&mut book), [(4, TWO)]);
}

#[test]
fn nobody_waits_for_ever() {
    let (mut book, now) = book(10);
    for at in [0, 1] {
        assert_eq!(book.ask(None, vec![], now + Duration::from_secs(at)), CreditAnswer::Waits(at + 1));
    }
    book.tick(now + PATIENCE);
    assert_eq!(book.events(), [BookEvent::Expired { waiter: 1 }]);
    assert_eq!((book.page(now).waiting, book.page(now).expired), (1, 1));
}

#[test]
fn a_name_has_one_channel_and_channels_are_bounded() {
    let (mut book, now) = book(10);
    book.open(ONE, ("one", "http://a:1"), 0, now);
    assert!(book.open(TWO, ("one", "http://a:1"), 1, now));
    assert_eq!(book.events(), [BookEvent::Closed { channel: ONE, end: ChannelEnd::Replaced }]);
    for number in 1..CHANNELS_MAX {
        assert!(book.open(Channel(number as u64 + 2), (&number.to_string(), "http://a:1"), 0, now));
    }
    assert!(!book.open(Channel(0), ("last", "http://a:1"), 0, now));
    assert_eq!("00000000000000ff".parse(), Ok(Channel(255)));
    for wrong in ["ff", "+0000000000000ff", "00000000000000fg", ""] {
        assert_eq!(wrong.parse::<Channel>(), Err(ChannelError), "{wrong}");
    }
}

proptest! {
    /// Whatever is said in whatever order: as many requests go to a server as it has given credits for, less those that came back.
    #[test]
    fn no_more_are_granted_than_were_given(steps in prop::collection::vec((0_u8..7, 0_u8..3, 0_u32..3), 0..200)) {
        let (mut book, now) = book(8);
        let (mut given, mut taken, mut open) = ([0_u64; 3], [0_u64; 3], [false; 3]);
        for (step, (kind, which, number)) in steps.into_iter().enumerate() {
            let now = now + Duration::from_millis(100 * step as u64);
            let (at, channel) = (usize::from(which), Channel(u64::from(which)));
            let mut grant = |channel: Channel| taken[usize::try_from(channel.0).unwrap()] += 1;
            match kind {
                0 if !open[at] => {
                    open[at] = book.open(channel, (&which.to_string(), "http://a:1"), number, now);
                    given[at] += u64::from(number);
                }
                1 => given[at] += book.ready(channel, number, now).map_or(0, |_| u64::from(number)),
                2 | 3 => {
                    let session = session(u8::try_from(number).unwrap(), kind == 2);
                    if let CreditAnswer::Granted(channel) = book.ask(session, vec![], now) {
                        grant(channel);
                    }
                }
                4 => book.close(channel, ChannelEnd::Left, now),
                5 if open[at] => { book.place(channel, SessionId([u8::try_from(number).unwrap(); 16]), now); }
                _ => book.tick(now),
            }
            for event in book.events() {
                match event {
                    BookEvent::Granted { channel, .. } => grant(channel),
                    BookEvent::Closed { channel, .. } => open[usize::try_from(channel.0).unwrap()] = false,
                    BookEvent::Expired { .. } => {}
                }
            }
            prop_assert!(book.page(now).waiting <= 8);
            for at in 0..3 {
                prop_assert!(taken[at] <= given[at], "{taken:?} of {given:?}");
            }
        }
    }
}
