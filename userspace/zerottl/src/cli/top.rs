//! `zerottl top`: the status, drawn anew every second.

mod lines;

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
use zerottl::admin::status::StatusPage;
use zerottl_inputs::agent_client::{self as client, AgentAddress};

use self::lines::{Choices, Pages};
use super::{CommandError, complain, show};

/// How often the agent is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the thread that reads keys looks whether anyone still wants them.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Where nobody looks at a terminal, one page is printed.
pub async fn top(at: AgentAddress) -> Result<(), CommandError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        show::<StatusPage>(at, "/v1/status", false, StatusPage::to_text).await?;
        complain("zerottl top: this is not a terminal, so it is shown once");
        return Ok(());
    }
    // The agent is asked before the screen is taken, so that a wrong place is told like any other command's.
    let first = page(&at).await.map_err(|error| super::unasked(&error))?;
    let screen = Screen::enter().map_err(|error| format!("the terminal cannot be used: {error}"))?;
    let result = run(&at, first).await;
    drop(screen);
    result
}

async fn page(at: &AgentAddress) -> Result<StatusPage, client::ClientError> {
    let body = client::get(at, "/v1/status").await?;
    serde_json::from_slice(&body).map_err(client::ClientError::Json)
}

/// The wish that a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Quit,
    Scroll(i32),
    Top,
    Redraw,
    /// A letter: a command, or part of what is searched for.
    Letter(char),
    Back,
    Enter,
    Escape,
}

fn wish(event: &Event) -> Option<Wish> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Char(letter) if key.modifiers.difference(KeyModifiers::SHIFT).is_empty() => {
                Some(Wish::Letter(letter))
            }
            KeyCode::Esc => Some(Wish::Escape),
            KeyCode::Enter => Some(Wish::Enter),
            KeyCode::Backspace => Some(Wish::Back),
            KeyCode::Down => Some(Wish::Scroll(1)),
            KeyCode::Up => Some(Wish::Scroll(-1)),
            KeyCode::PageDown => Some(Wish::Scroll(20)),
            KeyCode::PageUp => Some(Wish::Scroll(-20)),
            KeyCode::Home => Some(Wish::Top),
            _ => None,
        },
        Event::Resize(..) => Some(Wish::Redraw),
        _ => None,
    }
}

/// Longest that is searched for, characters.
const WISH_MAX: usize = 60;

/// Applies a wish to the choices; true is the end.
fn obey(choices: &mut Choices, wish: Wish) -> bool {
    match wish {
        Wish::Scroll(by) => choices.from = choices.from.saturating_add_signed(by as isize),
        Wish::Top => choices.from = 0,
        Wish::Enter => choices.typing = false,
        Wish::Back if choices.typing => drop(choices.wish.pop()),
        Wish::Escape if choices.typing || !choices.wish.is_empty() => {
            choices.wish.clear();
            choices.typing = false;
        }
        Wish::Escape | Wish::Quit | Wish::Letter('q') => return true,
        Wish::Letter(letter) if choices.typing => {
            if choices.wish.chars().count() < WISH_MAX {
                choices.wish.extend(letter.to_lowercase());
            }
            choices.from = 0;
        }
        Wish::Letter('j') => choices.from = choices.from.saturating_add(1),
        Wish::Letter('k') => choices.from = choices.from.saturating_sub(1),
        Wish::Letter(' ') => choices.from = choices.from.saturating_add(20),
        Wish::Letter('s') => choices.sort = choices.sort.next(),
        Wish::Letter('d') => choices.down = !choices.down,
        Wish::Letter('n') => choices.names = !choices.names,
        Wish::Letter('/') => choices.typing = true,
        Wish::Letter(_) | Wish::Back | Wish::Redraw => {}
    }
    false
}

async fn run(at: &AgentAddress, first: StatusPage) -> Result<(), CommandError> {
    let failed = |error: io::Error| CommandError::Sentence(format!("the terminal cannot be used: {error}"));
    let stop = |kind| signal(kind).map_err(failed);
    let mut terminate = stop(SignalKind::terminate())?;
    let mut interrupt = stop(SignalKind::interrupt())?;
    let mut hangup = stop(SignalKind::hangup())?;
    let mut wishes = keys();
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = View { page: first, at: Instant::now(), before: None, lost: None, choices: Choices::default() };
    loop {
        tokio::select! {
            _ = tick.tick() => match page(at).await {
                Ok(page) => shown.take(page),
                Err(error) => shown.lost = Some(error.to_string()),
            },
            asked = wishes.recv() => match asked {
                None => return Ok(()),
                Some(wish) => if obey(&mut shown.choices, wish) {
                    return Ok(());
                },
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

/// The state of the screen.
struct View {
    page: StatusPage,
    /// When it was had.
    at: Instant,
    /// The one before, and how many seconds before.
    before: Option<(StatusPage, f64)>,
    /// Why no newer one could be had.
    lost: Option<String>,
    choices: Choices,
}

impl View {
    /// Takes a newer page.
    fn take(&mut self, page: StatusPage) {
        let seconds = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        self.before = Some((std::mem::replace(&mut self.page, page), seconds));
        self.lost = None;
    }

    fn draw(&mut self) -> io::Result<()> {
        let (columns, rows) = size()?;
        let before = self.before.as_ref().map(|(page, seconds)| (page, *seconds));
        let pages = Pages { now: &self.page, before };
        let mut lines = lines::screen(&pages, &mut self.choices, usize::from(columns), usize::from(rows));
        if let (Some(why), Some(heading)) = (&self.lost, lines.first_mut()) {
            let why: String = why.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            let age = self.at.elapsed().as_secs();
            let told = format!("THE AGENT DOES NOT ANSWER ({why}); this is from {age} s ago");
            *heading = told.chars().take(usize::from(columns)).collect();
        }
        let mut out = io::stdout().lock();
        for (row, line) in (0..rows).zip(&lines) {
            queue!(out, MoveTo(0, row))?;
            if row == 0 {
                queue!(out, SetAttribute(Attribute::Reverse), Print(line), SetAttribute(Attribute::Reset))?;
            } else {
                queue!(out, Print(line))?;
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
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Quit));
        assert_eq!(key(KeyCode::Char('x'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Wish::Scroll(1)));
        assert_eq!(wish(&Event::Resize(80, 24)), Some(Wish::Redraw));
        assert_eq!(wish(&Event::FocusGained), None);
        let mut choices = Choices::default();
        let mut press = |code| obey(&mut choices, key(code, KeyModifiers::NONE).expect("a wish"));
        assert!(press(KeyCode::Char('q')) && press(KeyCode::Esc));
        // While something is typed, letters are no commands.
        for letter in ['s', 'd', '/', 'Q', 's'] {
            assert!(!press(KeyCode::Char(letter)));
        }
        assert!(!press(KeyCode::Enter) && !press(KeyCode::Char('n')));
        assert_eq!((choices.wish.as_str(), choices.typing, choices.down, choices.names), ("qs", false, true, true));
        assert!(!obey(&mut choices, Wish::Escape), "takes back what was searched for");
        assert!(choices.wish.is_empty() && obey(&mut choices, Wish::Escape));
    }
}
