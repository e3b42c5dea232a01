//! The answer to a connection that no server had a place for.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use zerottl_core::model::BusyAnswer;

/// The time that a client has to take the answer.
const TAKE_MAX: Duration = Duration::from_secs(2);
/// Bytes of its request that are read away, at most: what is unread at a close becomes a reset, which may overtake the answer.
const READ_MAX: usize = 64 * 1024;
/// Seconds after which a client is told to come back.
const RETRY: u32 = 5;

/// Answers, and closes.
pub(crate) async fn answer(stream: TcpStream, answer: BusyAnswer) {
    let text = match answer {
        BusyAnswer::Http => {
            let body = "503: all servers are busy\n";
            format!(
                "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY}\r\nCache-Control: no-store\r\n\
                 Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        BusyAnswer::Close => String::new(),
    };
    // Whoever does not take it is closed all the same.
    let _ = timeout(TAKE_MAX, say(stream, text.as_bytes())).await;
}

async fn say(mut stream: TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut left = READ_MAX;
    let mut bytes = [0; 4096];
    while left > 0 {
        match stream.read(&mut bytes).await {
            Ok(0) => break,
            Ok(read) => left = left.saturating_sub(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
