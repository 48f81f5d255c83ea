//! What `transom demo` prints: where it listens, and commands to try for every dialect.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::demo::page;

/// Commands for one way to reach the library. Another dialect adds one block to [`BLOCKS`].
struct Block {
    title: &'static str,
    /// `{gateway}`, `{tls}` and `{admin}` stand for addresses, `HOST:PORT`.
    commands: &'static [&'static str],
}

const BLOCKS: &[Block] = &[
    Block {
        title: "gRPC with grpcurl",
        commands: &[
            "grpcurl -plaintext {gateway} list",
            "grpcurl -plaintext {gateway} describe transom.demo.v1.Library.GetBook",
            r#"grpcurl -plaintext -d '{"name":"shelves/harbour/books/the-lamp"}' {gateway} transom.demo.v1.Library/GetBook"#,
            r#"grpcurl -plaintext -d '{"name":"shelves/harbour/books/the-lamp","pause":"0.5s"}' {gateway} transom.demo.v1.Library/ReadBook"#,
            "grpcurl -plaintext {gateway} grpc.health.v1.Health/Check",
        ],
    },
    Block {
        title: "gRPC with buf",
        commands: &[
            "buf curl --protocol grpc --http2-prior-knowledge --list-methods http://{gateway}",
            r#"buf curl --protocol grpc --http2-prior-knowledge -d '{"parent":"shelves/weather"}' http://{gateway}/transom.demo.v1.Library/ListBooks"#,
            r#"buf curl --protocol grpc --http2-prior-knowledge -d '{"id":"1","text":"Is it raining?","times":3}' http://{gateway}/transom.demo.v1.Library/Discuss"#,
        ],
    },
    Block {
        title: "REST with curl",
        commands: &[
            "curl http://{gateway}/v1/shelves/harbour/books/the-lamp",
            "curl 'http://{gateway}/v1/shelves/harbour/books?page_size=1'",
            r#"curl -d '{"theme":"Things found in pockets","name":"shelves/pockets"}' -H 'content-type: application/json' http://{gateway}/v1/shelves"#,
            "curl -N -H 'accept: text/event-stream' http://{gateway}/v1/shelves/harbour/books/the-lamp:read",
            "curl http://{gateway}/openapi.json",
        ],
    },
    Block {
        title: "Connect with curl, and with buf",
        commands: &[
            r#"curl -d '{"name":"shelves/harbour/books/the-lamp"}' -H 'content-type: application/json' http://{gateway}/transom.demo.v1.Library/GetBook"#,
            "curl 'http://{gateway}/transom.demo.v1.Library/GetBook?connect=v1&encoding=json&message=%7B%22name%22%3A%22shelves%2Fharbour%2Fbooks%2Fthe-lamp%22%7D'",
            r#"buf curl -d '{"name":"shelves/harbour/books/the-lamp","pause":"0.5s"}' http://{gateway}/transom.demo.v1.Library/ReadBook"#,
        ],
    },
    Block {
        title: "gRPC-Web with buf",
        commands: &[
            r#"buf curl --protocol grpcweb -d '{"name":"shelves/harbour/books/the-lamp"}' http://{gateway}/transom.demo.v1.Library/GetBook"#,
        ],
    },
    Block {
        title: "Over TLS, with a certificate made just now",
        commands: &[
            "curl -k https://{tls}/v1/shelves/harbour/books/the-lamp",
            "grpcurl -insecure {tls} list",
            "buf curl --http3 -k https://{tls}/transom.demo.v1.Library/GetBook -d '{\"name\":\"shelves/harbour/books/the-lamp\"}'",
        ],
    },
    Block { title: "What the gateway saw", commands: &["curl http://{admin}/metrics"] },
];

/// The text to print, with the addresses that are really listened on. It begins with one line for each
/// address, `gateway  http://HOST:PORT`, `admin    http://HOST:PORT` and `tls      https://HOST:PORT`, which
/// programs may read.
pub fn hints(gateway: SocketAddr, tls: SocketAddr, admin: SocketAddr) -> String {
    let mut text = format!("gateway  http://{gateway}\nadmin    http://{admin}\ntls      https://{tls}\n");
    let page = page::PATH;
    // writing to a String does not fail
    let _ =
        writeln!(text, "\nA small library is open behind the gateway. In a browser: http://{gateway}{page}");
    text.push_str("In a shell, try:\n");
    let addresses = [("{gateway}", gateway), ("{tls}", tls), ("{admin}", admin)];
    let addresses = addresses.map(|(name, address)| (name, address.to_string()));
    for block in BLOCKS {
        let _ = writeln!(text, "\n{}:", block.title); // writing to a String does not fail
        for command in block.commands {
            let fill = |text: String, (name, address): &(&str, String)| text.replace(name, address);
            let command = addresses.iter().fold((*command).to_owned(), fill);
            let _ = writeln!(text, "  {command}");
        }
    }
    text.push_str("\nCtrl-C closes it.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let at = |address: &str| address.parse().unwrap();
        hints(at("127.0.0.1:8080"), at("127.0.0.1:8443"), at("127.0.0.1:9900"))
    }

    #[test]
    fn addresses_come_first_and_are_filled_in() {
        let text = text();
        assert!(
            text.starts_with(
                "gateway  http://127.0.0.1:8080\nadmin    http://127.0.0.1:9900\ntls      https://127.0.0.1:8443\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n  grpcurl -plaintext 127.0.0.1:8080 list\n"));
        assert!(text.contains("\n  curl http://127.0.0.1:9900/metrics\n"));
        assert!(text.contains(" http://127.0.0.1:8080/demo\n"));
        assert!(text.contains("\n  grpcurl -insecure 127.0.0.1:8443 list\n"));
        assert!(!["{gateway}", "{tls}", "{admin}"].iter().any(|name| text.contains(name)));
    }

    #[test]
    fn every_method_that_is_named_exists() {
        let services = ["transom.demo.v1.Library", "grpc.health.v1.Health"];
        let set = String::from_utf8_lossy(crate::demo::FILE_DESCRIPTOR_SET);
        for word in text().split_whitespace() {
            let Some((service, method)) = services.iter().find_map(|s| Some((s, word.split_once(s)?.1)))
            else {
                continue;
            };
            let method = method[1..].split('?').next().unwrap_or_default();
            assert!(method == "Check" && service.starts_with("grpc") || set.contains(method), "{word}");
        }
    }

    #[test]
    fn quotes_are_balanced_for_the_shell() {
        for line in text().lines().filter(|line| line.starts_with("  ")) {
            assert_eq!(line.matches('\'').count() % 2, 0, "{line}");
        }
    }
}
