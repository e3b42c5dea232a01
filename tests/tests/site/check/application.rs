//! An application that says what it was asked for, and opens a WebSocket.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tests::netns::Netns;

/// The example of RFC 6455 section 1.3, and what it is answered by.
pub const WEBSOCKET_KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const WEBSOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nopened";

/// Ends when dropped.
pub struct Application {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    /// Listens on port 8080 of a machine.
    pub fn start(machine: &Netns) -> io::Result<Self> {
        let listener = machine.run(|| TcpListener::bind("127.0.0.1:8080"))??;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !ends.load(Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(thread::spawn(move || serve(stream))),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection, until its client has enough.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut writer, mut reader) = (stream.try_clone()?, BufReader::new(stream));
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let field = |name: &str| {
            let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
            let mut values = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
            values.next().unwrap_or_default().to_owned()
        };
        let length = field("content-length").parse().unwrap_or(0);
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        if field("upgrade").eq_ignore_ascii_case("websocket") {
            writer.write_all(WEBSOCKET.as_bytes())?;
            return Ok(());
        }
        let mut asked = lines.first().map_or("", String::as_str).split(' ');
        let (method, target) = (asked.next().unwrap_or_default(), asked.next().unwrap_or_default());
        let body = format!("{method} {} {target} by {}", field("host"), field("x-forwarded-for"));
        let length = body.len();
        let body = if method == "HEAD" { "" } else { &body };
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}")?;
    }
}
