//! Requests that two servers might read differently: refused, or read here and written anew.

use super::*;

/// A request's bytes, the status of each response, and the bodies that reached the backend.
struct Case {
    what: &'static str,
    bytes: String,
    statuses: &'static [u16],
    bodies: &'static [&'static str],
}

fn case(what: &'static str, bytes: &str, statuses: &'static [u16], bodies: &'static [&'static str]) -> Case {
    Case { what, bytes: bytes.replace('\n', "\r\n").replace('~', "\n"), statuses, bodies }
}

fn cases() -> Vec<Case> {
    let next = "GET /next HTTP/1.1\nHost: a\nConnection: close\n\n";
    let post = |fields: &str, rest: &str| format!("POST / HTTP/1.1\nHost: a\n{fields}\n\n{rest}");
    vec![
        case("as it should be", &post("Content-Length: 3", &format!("abc{next}")), &[200, 200], &["abc", ""]),
        case(
            "a length beside chunks: chunks it is, and the connection ends",
            &post("Content-Length: 3\nTransfer-Encoding: chunked", &format!("5\nhello\n0\n\n{next}")),
            &[200],
            &["hello"],
        ),
        case(
            "the same in the other order",
            &post("Transfer-Encoding: chunked\nContent-Length: 3", &format!("5\nhello\n0\n\n{next}")),
            &[200],
            &["hello"],
        ),
        case("two lengths", &post("Content-Length: 3\nContent-Length: 4", "abcd"), &[400], &[]),
        case("a list of lengths", &post("Content-Length: 3, 4", "abcd"), &[400], &[]),
        case("a length with a sign", &post("Content-Length: +3", "abc"), &[400], &[]),
        case("a negative length", &post("Content-Length: -1", ""), &[400], &[]),
        case("a length over all bounds", &post("Content-Length: 99999999999999999999999", ""), &[400], &[]),
        case("a length in hexadecimal", &post("Content-Length: 0x3", "abc"), &[400], &[]),
        case("no chunks after all", &post("Transfer-Encoding: xchunked", "0\n\n"), &[400], &[]),
        case("chunks that are not last", &post("Transfer-Encoding: chunked, identity", "0\n\n"), &[400], &[]),
        case("identity", &post("Transfer-Encoding: identity\nContent-Length: 3", "abc"), &[400], &[]),
        case("a coding under the chunks", &post("Transfer-Encoding: gzip, chunked", "0\n\n"), &[501], &[]),
        case("chunks twice", &post("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", "0\n\n"), &[501], &[]),
        case("a vertical tab in the coding", &post("Transfer-Encoding: \u{b}chunked", "0\n\n"), &[400], &[]),
        case("chunks in HTTP/1.0", "POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n0\n\n", &[400], &[]),
        case("a chunk of all bounds", &post("Transfer-Encoding: chunked", "fffffffffffffffffff\nabc"), &[400], &[]),
        case("a chunk's size that is none", &post("Transfer-Encoding: chunked", "0x3\nabc\n0\n\n"), &[400], &[]),
        case("a chunk longer than its size", &post("Transfer-Encoding: chunked", "3\nabcd\n0\n\n"), &[400], &[]),
        case("a line feed alone after a size", &post("Transfer-Encoding: chunked", "3~abc\n0\n\n"), &[400], &[]),
        case("a folded line", &post("X-A: b\n c", ""), &[400], &[]),
        case("a space before the colon", &post("Content-Length : 3", "abc"), &[400], &[]),
        case("a line without a colon", &post("nonsense", ""), &[400], &[]),
        case("a field without a name", &post(": x", ""), &[400], &[]),
        case("a NUL in a value", &post("X-A: b\0c", ""), &[400], &[]),
        case("a carriage return alone", &post("X-A: b\rContent-Length: 3", "abc"), &[400], &[]),
        case("two Hosts", "GET / HTTP/1.1\nHost: a\nHost: b\n\n", &[400], &[]),
        case("the same Host twice", "GET / HTTP/1.1\nHost: a\nHost: a\n\n", &[400], &[]),
        case("a space in the target", "GET /a b HTTP/1.1\nHost: a\n\n", &[400], &[]),
        case("HTTP/3 on HTTP/1", "GET / HTTP/3.0\nHost: a\n\n", &[400], &[]),
        case("line feeds alone, read as lines", "GET / HTTP/1.1~Host: a~Connection: close~~", &[200], &[""]),
    ]
}

#[tokio::test]
async fn no_request_hides_in_another() {
    for Case { what, bytes, statuses, bodies } in cases() {
        let app = Recorder::start("app").await;
        let front = Front::start(&[app.at], |_| ());
        let answer = front.raw(&bytes).await;
        let got: Vec<u16> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| status(&answer[at..])).collect();
        assert_eq!(got, statuses, "{what}: {answer}");
        let seen = app.seen();
        let reached: Vec<&str> = seen.iter().map(|seen| std::str::from_utf8(&seen.body).unwrap()).collect();
        assert_eq!(reached, bodies, "{what}");
        for seen in seen {
            let framed = seen.all("content-length").len() + seen.all("transfer-encoding").len();
            assert!(framed <= 1, "{what}: framed twice: {seen:?}");
        }
    }
}

/// A backend that says more than it was asked for is not listened to for another client's request.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let at = raw_backend(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        stream.write_all(answer.as_bytes()).await.unwrap();
        sleep(SOON).await;
    })
    .await;
    let front = Front::start(&[at], |_| ());
    for _ in 0..3 {
        let answer = front.get("/").await;
        assert!(answer.ends_with("good"), "{answer}");
    }
}
