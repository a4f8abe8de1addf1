//! Who may write, and how much at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ureq::http::Uri;

use super::EVENTS;
use crate::Client;

/// How long the answer to a head may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Without a token the answer is 401 before the body is read.
pub fn token_is_asked_for_before_the_body(client: &Client) {
    let answer = answer_to_head(&client.anonymous());
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = answer.to_lowercase();
    assert!(answer.contains("\r\nwww-authenticate: bearer"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: application/problem+json"), "{answer}");
    client.anonymous().get(EVENTS).expect_problem(401);
}

/// A wrong token, of any length, is answered as no token is.
pub fn wrong_token_is_refused_before_the_body(client: &Client) {
    let right = client.token().expect("the client has a token");
    for wrong in ["x".to_owned(), format!("{right}x"), right[1..].to_owned(), right.to_uppercase() + "-"] {
        let answer = answer_to_head(&client.with_token(&wrong));
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    client.with_token("x").get(EVENTS).expect_problem(401);
    // The answer also reaches a client that is still writing.
    let body = vec![b' '; 1 << 20];
    client.with_token("x").post_raw(EVENTS, "application/json", &body, &[]).expect_problem(401);
}

/// A body of more than 4 MiB is answered 413, one of exactly that is read.
pub fn oversized_body_is_refused(client: &Client) {
    // What it begins with is no JSON: it is read, and not parsed, which would take the service longer than all other tests.
    let mut body = vec![b'x'; 4 << 20];
    client.post_raw(EVENTS, "application/json", &body, &[]).expect_problem(400);
    body.push(b' ');
    client.post_raw(EVENTS, "application/json", &body, &[]).expect_problem(413);
}

/// What comes back for the head of a POST whose body never comes: any answer shows that the body was not waited for.
fn answer_to_head(client: &Client) -> String {
    let uri: Uri = client.url(EVENTS).parse().expect("the run's addresses are valid");
    let authority = uri.authority().expect("the run's addresses name a host");
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let token = client.token().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nConnection: close\r\n{token}\r\n"
    );
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(head.as_bytes())?;
        // Not to the end of the connection: the service may still take in the body that it does not want.
        let mut stream = BufReader::new(stream);
        let (mut answer, mut length) = (String::new(), 0);
        while !answer.ends_with("\r\n\r\n") {
            let start = answer.len();
            if stream.read_line(&mut answer)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = answer[start..].to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(answer + &String::from_utf8_lossy(&body))
    };
    let answer: std::io::Result<String> = exchange();
    answer.unwrap_or_else(|error| panic!("POST {uri} without a body: no answer: {error}"))
}
