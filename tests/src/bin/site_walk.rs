//! The walk through operation 500 as a picture for the documents: `site_walk FOLDER`.
//!
//! Chromium, in the lab, opens the Pool Name, is bound to a Site, looks around there, loses it and is bound to the next. Makes
//! `site-walk.png` and `site-walk-dark.png`, each of three frames.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tests::{
    browser::{Browser, Look},
    config::{Config, ProbeConfig},
    scene::Scene,
};

const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\n";
/// Of a frame, CSS pixels.
const FRAME: (u32, u32) = (400, 430);
/// From one attempt to the next while the Site is gone.
const AGAIN: Duration = Duration::from_secs(1);
/// Chromium keeps an address for a minute, whatever its TTL.
const PATIENCE: Duration = Duration::from_mins(2);

/// One moment of the walk.
struct Frame {
    caption: String,
    /// The URL that the address bar shows.
    url: String,
    /// Light and dark, PNG.
    pictures: [Vec<u8>; 2],
}

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from).filter(|folder| folder.is_dir()) else {
        eprintln!("site_walk: name a folder for the pictures");
        return ExitCode::FAILURE;
    };
    match pictures(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("site_walk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pictures(folder: &Path) -> io::Result<()> {
    let probe = ProbeConfig { interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    let config = Config { probe: Some(probe), more: WEB.into(), ..Config::default() };
    let scene = Scene::with_fronts("pictures of the walk", config).ok_or_else(|| io::Error::other("needs root"))?;
    let scratch = scene.lab.folder("walk")?;
    let mut page = bound_to_boston(&scene)?;
    let mut frames = Vec::new();
    let caption = "<b>http://app.com/</b> is opened. DNS has chosen Boston, which binds the browser to its own name.";
    frames.push(frame(&mut page, &scratch, caption)?);

    for looks in ["2", "3"] {
        page.value("document.querySelector('a').click()")?;
        page.wait_for("#looks", |text| text == looks)?;
    }
    page.value("document.querySelector('input').value = 'Two tickets for Friday'")?;
    page.value("document.querySelector('form').submit()")?;
    page.wait_for("#looks", |text| text == "4")?;
    page.value("document.querySelector('a').click()")?;
    page.wait_for("#looks", |text| text == "5")?;
    frames.push(frame(&mut page, &scratch, "The session stays there: nothing is redirected any more.")?);

    scene.lab.site("boston").kill();
    let killed = Instant::now();
    scene.wait_for(&[("boston", false)]);
    let moved = killed.elapsed();
    while page.go("http://boston.app.com/").is_err() {
        if killed.elapsed() > PATIENCE {
            return Err(io::Error::other("Chromium does not leave the dead Site"));
        }
        thread::sleep(AGAIN);
    }
    page.wait_for("#site", |text| text.eq_ignore_ascii_case("chicago"))?;
    let caption = format!(
        "Boston is killed. {:.0}&nbsp;s later DNS gives its name to Chicago, which binds the browser to its own name, in a new session.",
        moved.as_secs_f64().ceil()
    );
    frames.push(frame(&mut page, &scratch, &caption)?);
    eprintln!("site_walk: Chromium itself kept Boston's address until {:.0?} after its death", killed.elapsed());
    for (number, name) in ["site-walk", "site-walk-dark"].into_iter().enumerate() {
        let file = scratch.join("walk.html");
        fs::write(&file, composed(&frames, number))?;
        page.look(Look { width: 3 * (FRAME.0 + 2) + 2 * 28 + 2 * 24, height: 100, dark: number == 1 })?;
        page.go(&format!("file://{}", file.display()))?;
        page.wait_for("body", |text| text.contains("Boston is killed"))?;
        page.picture(&folder.join(format!("{name}.png")))?;
    }
    Ok(())
}

/// A browser that DNS has sent to Boston. Each new one is a draw of its own: a browser keeps addresses.
fn bound_to_boston(scene: &Scene) -> io::Result<Browser> {
    for _ in 0..30 {
        let mut page = Browser::start(&scene.lab.client)?;
        page.look(Look { width: FRAME.0, height: FRAME.1, dark: false })?;
        page.go("http://app.com/")?;
        if page.wait_for("#site", |text| !text.is_empty())?.eq_ignore_ascii_case("boston") {
            return Ok(page);
        }
    }
    Err(io::Error::other("DNS never chose Boston"))
}

fn frame(page: &mut Browser, scratch: &Path, caption: &str) -> io::Result<Frame> {
    let url = page.value("location.href")?.as_str().unwrap_or_default().to_owned();
    let file = scratch.join("frame.png");
    let mut pictures = [Vec::new(), Vec::new()];
    for (picture, dark) in pictures.iter_mut().zip([false, true]) {
        page.look(Look { width: FRAME.0, height: FRAME.1, dark })?;
        page.picture(&file)?;
        *picture = fs::read(&file)?;
    }
    Ok(Frame { caption: caption.to_owned(), url, pictures })
}

/// The frames side by side, each in a browser's window with its address.
fn composed(frames: &[Frame], look: usize) -> String {
    let figures = frames.iter().zip(1..).map(|(Frame { caption, url, pictures }, number)| {
        let picture = BASE64_STANDARD.encode(&pictures[look]);
        format!(
            "<figure><figcaption><i>{number}</i><span>{caption}</span></figcaption><div class=\"window\"><p>{url}</p>\
             <img src=\"data:image/png;base64,{picture}\"></div></figure>"
        )
    });
    format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><style>{STYLE}</style><body>{}</body>\n",
        figures.collect::<String>()
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5b6570; --line: #c9d0d8; --bar: #e6eaee; --mark: #0b57d0 }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6e9ed; --soft: #b4bcc5; --line: #3a4149; --bar: #262c33; --mark: #8ab4f8 } }
body { margin: 0; padding: 24px; display: grid; grid-template-columns: repeat(3, 402px); grid-template-rows: auto auto; gap: 12px 28px;
  background: var(--paper); color: var(--ink); font: 16px/1.4 system-ui, sans-serif; min-height: 0 }
figure { display: grid; grid-row: span 2; grid-template-rows: subgrid; margin: 0 }
figcaption { display: flex; gap: 10px }
i { flex: none; width: 26px; height: 26px; border-radius: 50%; background: var(--mark); color: var(--paper); font: 600 15px/26px system-ui; text-align: center }
.window { border: 1px solid var(--line); border-radius: 8px; overflow: hidden }
.window p { margin: 0; padding: 8px 12px; background: var(--bar); color: var(--ink); font: 13px/1.4 ui-monospace, monospace; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis }
img { display: block; width: 100% }
";
