//! WebSocket and its like.

use super::*;
use crate::front::FrontRefusal;
use zerottl_core::model::WebLimits;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A backend that becomes an echo when it is asked to.
async fn echo() -> SocketAddr {
    raw_backend(|mut stream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{head}");
        // What comes with the answer belongs to the tunnel.
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn a_connection_that_is_upgraded_passes_bytes_both_ways() {
    let front = Front::start(&[echo().await], |web| web.limits.connections_per_client = 1);
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "hello ").await.to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    for round in 0..3 {
        let text = format!("{round}").repeat(100_000);
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; text.len()];
        let (sent, got) = tokio::join!(write.write_all(text.as_bytes()), read.read_exact(&mut back));
        sent.unwrap();
        got.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    assert_eq!(front.counters.tunnels.load(SeqCst), 1);
    // It is still one of the client's connections.
    assert_eq!(front.get("/").await, "");
    assert_eq!(front.counters.refused(FrontRefusal::PerClient), 1);
    drop(stream);
    until("it is closed", || front.counters.tunnels.load(SeqCst) + front.counters.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_ends() {
    let front = Front::start(&[echo().await], |web| {
        web.limits.idle_timeout = Duration::from_secs(1);
        web.limits.head_timeout = Duration::from_secs(1);
    });
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    read_until(&mut stream, "hello ").await;
    for _ in 0..12 {
        sleep(Duration::from_millis(200)).await;
        stream.write_all(b"x").await.unwrap();
        read_until(&mut stream, "x").await;
    }
    assert_eq!(read_to_end(&mut stream).await, "");
    until("it is closed", || front.counters.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_stop_lets_a_tunnel_go_on_for_a_while() {
    let mut front = Front::start(&[echo().await], |_| ());
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    read_until(&mut stream, "hello ").await;
    let stopped = Instant::now();
    front.cancel.cancel();
    sleep(Duration::from_millis(300)).await;
    stream.write_all(b"still here").await.unwrap();
    read_until(&mut stream, "still here").await;
    assert!(!front.task.is_finished(), "it waits for the tunnel");
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(stopped.elapsed() >= WebLimits::default().grace);
    timeout(SOON, &mut front.task).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_backend_that_does_not_upgrade_just_answers() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |_| ());
    for _ in 0..2 {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(ASK.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "app").await;
        assert_eq!(status(&answer), 200);
        // And the connection goes on as HTTP.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut stream, "app").await;
    }
    assert_eq!(app.seen().len(), 4);
}

/// Requests inside HTTP/2 inside HTTP/1.1 would go to a backend unseen.
#[tokio::test]
async fn http_is_not_an_upgrade_of_http() {
    let app = Recorder::start("app").await;
    let front = Front::start(&[app.at], |_| ());
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert_eq!(status(&front.raw(ask).await), 200);
    let seen = &app.seen()[0];
    assert_eq!(seen.all("upgrade").len() + seen.all("connection").len() + seen.all("http2-settings").len(), 0);
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_fault() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        sleep(SOON).await;
    })
    .await;
    let front = Front::start(&[at], |_| ());
    assert_eq!(status(&front.get("/").await), 502);
}
