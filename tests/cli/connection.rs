//! How the commands reach an Admin API, and what they say where there is none.

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use transom::admin::pb;

use crate::admin::Ended;
use crate::admin::Gateway;
use crate::admin::Served;
use crate::admin::ended;
use crate::admin::program;
use crate::tls::Authority;
use crate::tls::Files;
use crate::tls::Front;
use crate::tls::Server;

fn status(url: &str, more: &[&str]) -> Ended {
    ended(program().args(["status", "--admin", url]).args(more))
}

/// The sentence of a command that wasn't answered.
fn unanswered(url: &str, more: &[&str]) -> String {
    let ended = status(url, more);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    assert!(!ended.stderr.contains("Error {") && !ended.stderr.contains("Some("), "{ended:?}");
    ended.stderr
}

#[test]
fn nobody_is_told_with_where_it_was_tried() {
    // Its address is nobody's once it is gone.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = unanswered(&format!("http://{address}"), &[]);
    let said = format!(
        "nobody answers at http://{address} (connection refused): is the gateway running? --admin says"
    );
    assert!(why.starts_with(&said), "{why}");
    let why = unanswered("http://nobody.invalid:9900", &[]);
    assert!(why.starts_with("nobody answers at http://nobody.invalid:9900 ("), "{why}");
}

#[test]
fn a_server_of_http_1_is_told_from_a_gateway() {
    let old = Served::each(|mut socket| async move {
        let mut bytes = [0; 1024];
        if socket.read(&mut bytes).await.is_ok() {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
        // Until the other side has read it and goes.
        while socket.read(&mut bytes).await.is_ok_and(|read| read != 0) {}
    });
    let why = unanswered(&old.url(), &[]);
    assert!(why.starts_with(&format!("{} answers, but not in HTTP/2", old.url())), "{why}");
    let why = unanswered(&old.url().replace("http:", "https:"), &[]);
    assert!(why.contains("it doesn't speak TLS: write http://"), "{why}");
}

#[test]
fn an_answer_that_is_not_grpc_is_shown() {
    let other = Served::each(|socket| async move {
        let Ok(mut connection) = h2::server::handshake(socket).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response =
                http::Response::builder().status(403).header("content-type", "text/plain; charset=utf-8");
            let mut body = respond.send_response(response.body(()).unwrap(), false).unwrap();
            body.send_data("only\x1b[2J this machine\nis answered".into(), true).unwrap();
        }
    });
    let why = unanswered(&other.url(), &[]);
    assert_eq!(
        why,
        format!(
            "{} answers HTTP 403 (\"only\\u{{1b}}[2J this machine\"), which isn't gRPC: is that the Admin API? \
             --admin says where it is\n",
            other.url()
        )
    );
}

#[test]
fn a_gateway_that_says_nothing_is_left() {
    let gateway = Gateway::start();
    let ended = gateway.run(&["status", "--timeout", "300ms"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains(" took more than 300ms: what it was asked for may happen all the same"),
        "{ended:?}"
    );
    let _: pb::GetStatusRequest = gateway.asked("get_status");

    let silent = Served::each(|mut socket| async move {
        let mut bytes = [0; 1024];
        while socket.read(&mut bytes).await.is_ok_and(|read| read != 0) {}
    });
    let why = unanswered(&silent.url(), &["--timeout", "300ms"]);
    assert!(why.contains("300ms"), "{why}");
    let why = unanswered(&silent.url().replace("http:", "https:"), &["--timeout", "300ms"]);
    assert!(why.contains("didn't answer within 300ms"), "{why}");

    let gone = Served::each(|socket| async move { drop(socket) });
    let why = unanswered(&gone.url(), &[]);
    assert!(why.starts_with(&format!("the connection to {} broke off (", gone.url())), "{why}");
}

#[test]
fn tls_is_verified_and_shows_a_certificate() {
    let gateway = Gateway::start();
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let leaf = authority.leaf(&["localhost"]);
    let files = Files::new();
    files.write("ca.pem", &authority.pem);
    files.write("stranger.pem", &stranger.pem);
    files.put("ci", &authority.client("ci", &[]));
    let path = |name: &str| files.path(name).display().to_string();
    let server = Server { clients: Some(&authority), ..Server::of(&leaf) };
    let front = gateway.served.enter(|| Front::start(gateway.served.address, server));
    let url = format!("https://localhost:{}", front.address.port());

    gateway.reply("get_status", pb::GetStatusResponse { version: "9.9".into(), ..Default::default() });
    let shown = ["--ca", &path("ca.pem"), "--cert", &path("ci.crt"), "--key", &path("ci.key")];
    let good = status(&url, &shown);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    assert!(good.stdout.starts_with("transom 9.9, generation 0"), "{good:?}");
    assert!(front.seen()[0].shown.is_some());

    let why = unanswered(&url, &["--ca", &path("stranger.pem")]);
    assert!(why.contains("signed by nobody that is trusted: give the authority as --ca"), "{why}");
    let why = unanswered(&url.replace("localhost", "127.0.0.1"), &["--ca", &path("ca.pem")]);
    assert!(why.contains("its certificate isn't valid: "), "{why}");
    let why = unanswered(&url, &["--ca", &path("ca.pem")]);
    // The system may lose the server's alert to its reset.
    assert!(why.contains("--cert and --key show a certificate") || why.contains("broke off"), "{why}");
    let why = unanswered(&url, &["--ca", &path("ci.key")]);
    assert!(why.contains("ci.key has no certificate"), "{why}");
    let why =
        unanswered(&url, &["--ca", &path("ca.pem"), "--cert", &path("ci.crt"), "--key", &path("ca.pem")]);
    assert!(why.contains("ca.pem has no private key"), "{why}");
    let why = unanswered(&url, &["--ca", &path("none.pem")]);
    assert!(why.contains("none.pem can't be read"), "{why}");
    front.change(Server { alpn: &["http/1.1"], ..Server::of(&leaf) });
    let why = unanswered(&url, &["--ca", &path("ca.pem")]);
    assert!(why.contains("HTTP/2 over TLS"), "{why}");
    let plain = unanswered(&url.replace("https:", "http:"), &[]);
    assert!(plain.contains(&url.replace("https:", "http:")), "{plain}");
}
