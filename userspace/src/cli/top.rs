//! `zerottl top`: the status, drawn anew every second.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{
        Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
        disable_raw_mode, enable_raw_mode, size,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use zerottl::admin::{
    client::{self, At},
    status::StatusPage,
};

use super::{Failure, complain, show};

/// How often the agent is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the thread that reads keys looks whether anyone still wants them.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Where nobody looks at a terminal, one page is printed.
pub async fn top(at: At) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        show::<StatusPage>(at, "/v1/status", false, StatusPage::to_text).await?;
        complain("zerottl top: this is no terminal, so it is shown once");
        return Ok(());
    }
    // The agent is asked before the screen is taken, so that a wrong place is told like any other command's.
    let first = page(&at).await.map_err(|error| super::unasked(&error))?;
    let screen = Screen::enter().map_err(|error| format!("the terminal cannot be used: {error}"))?;
    let result = run(&at, first).await;
    drop(screen);
    result
}

async fn page(at: &At) -> Result<StatusPage, client::ClientError> {
    let body = client::get(at, "/v1/status").await?;
    serde_json::from_slice(&body).map_err(|error| client::ClientError::Http(error.to_string()))
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Quit,
    Scroll(i32),
    Top,
    Redraw,
}

fn wish(event: &Event) -> Option<Wish> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Down | KeyCode::Char('j') => Some(Wish::Scroll(1)),
            KeyCode::Up | KeyCode::Char('k') => Some(Wish::Scroll(-1)),
            KeyCode::PageDown | KeyCode::Char(' ') => Some(Wish::Scroll(20)),
            KeyCode::PageUp => Some(Wish::Scroll(-20)),
            KeyCode::Home => Some(Wish::Top),
            _ => None,
        },
        Event::Resize(..) => Some(Wish::Redraw),
        _ => None,
    }
}

async fn run(at: &At, first: StatusPage) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Words(format!("the terminal cannot be used: {error}"));
    let stop = |kind| signal(kind).map_err(failed);
    let mut terminate = stop(SignalKind::terminate())?;
    let mut interrupt = stop(SignalKind::interrupt())?;
    let mut hangup = stop(SignalKind::hangup())?;
    let mut wishes = keys();
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = View { page: first, at: Instant::now(), lost: None, from: 0 };
    loop {
        tokio::select! {
            _ = tick.tick() => match page(at).await {
                Ok(page) => shown = View { page, at: Instant::now(), lost: None, from: shown.from },
                Err(error) => shown.lost = Some(error.to_string()),
            },
            asked = wishes.recv() => match asked {
                None | Some(Wish::Quit) => return Ok(()),
                Some(Wish::Scroll(by)) => shown.from = shown.from.saturating_add_signed(by as isize),
                Some(Wish::Top) => shown.from = 0,
                Some(Wish::Redraw) => {}
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
        shown.draw().map_err(failed)?;
    }
}

/// Keys, from a thread of their own, which ends when nobody listens any more.
fn keys() -> mpsc::Receiver<Wish> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(KEY_WAIT) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => {
                        if wish(&event).is_some_and(|wish| sender.blocking_send(wish).is_err()) {
                            return;
                        }
                    }
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    receiver
}

/// What is on the screen.
struct View {
    page: StatusPage,
    /// When it was had.
    at: Instant,
    /// Why no newer one could be had.
    lost: Option<String>,
    /// The first line shown.
    from: usize,
}

impl View {
    /// The lines, the first of them a heading.
    fn lines(&self) -> Vec<String> {
        let heading = match &self.lost {
            None => "zerottl top: q quits, arrows scroll".to_owned(),
            Some(why) => {
                let why: String = why.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                format!(
                    "THE AGENT DOES NOT ANSWER ({why}); this is from {} s ago; q quits",
                    self.at.elapsed().as_secs()
                )
            }
        };
        let text = self.page.to_text();
        std::iter::once(heading).chain(text.lines().map(ToOwned::to_owned)).collect()
    }

    fn draw(&mut self) -> io::Result<()> {
        let (columns, rows) = size()?;
        let lines = self.lines();
        let room = usize::from(rows).saturating_sub(1);
        self.from = self.from.min(lines.len().saturating_sub(1 + room));
        let mut out = io::stdout().lock();
        let shown = std::iter::once(&lines[0]).chain(lines[1..].iter().skip(self.from).take(room));
        for (row, line) in (0..rows).zip(shown) {
            let cut: String = line.chars().take(usize::from(columns)).collect();
            queue!(out, MoveTo(0, row))?;
            if row == 0 {
                queue!(out, SetAttribute(Attribute::Reverse), Print(cut), SetAttribute(Attribute::Reset))?;
            } else {
                queue!(out, Print(cut))?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

/// The terminal while it is ours: given back when dropped, and before a panic's words.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// As far as it goes: a terminal that has gone needs nothing back.
fn give_back() {
    let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    /// This test runs itself in a terminal, as the child that panics there.
    #[test]
    fn a_panic_gives_the_terminal_back_before_its_words() {
        const CHILD: &str = "ZEROTTL_TEST_PANICS_IN_TOP";
        if std::env::var_os(CHILD).is_some() {
            let _screen = Screen::enter().expect("a terminal");
            panic!("on purpose");
        }
        let name = "cli::top::tests::a_panic_gives_the_terminal_back_before_its_words";
        let program = std::env::current_exe().expect("this program");
        let line = format!("{} --exact {name} --nocapture 2>&1; stty -a", program.display());
        let mut script = std::process::Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]).env(CHILD, "1").env("SHELL", "/bin/sh");
        let output = script.stdin(std::process::Stdio::null()).output().expect("util-linux's script");
        let text = String::from_utf8_lossy(&output.stdout);
        let (before, after) = text.split_once("\u{1b}[?1049l").expect("given back");
        assert!(before.contains("\u{1b}[?1049h") && !before.contains("on purpose"), "{text}");
        assert!(after.contains("on purpose") && after.split_whitespace().any(|word| word == "icanon"), "{text}");
    }

    #[test]
    fn keys_mean_what_the_heading_says() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Wish::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Wish::Scroll(1)));
        assert_eq!(wish(&Event::Resize(80, 24)), Some(Wish::Redraw));
        assert_eq!(wish(&Event::FocusGained), None);
    }
}
