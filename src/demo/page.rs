//! The page of `transom demo`: one document and one script that call the library in every dialect of a browser.

use base64::Engine as _;
use sha2::Digest as _;
use sha2::Sha256;

/// One file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// All of it.
    pub text: &'static str,
}

/// The page, and what it needs.
pub const FILES: [File; 2] = [
    File { path: PATH, content_type: "text/html; charset=utf-8", text: include_str!("page.html") },
    File {
        path: "/demo/page.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("page.js"),
    },
];

/// Where the page is.
pub const PATH: &str = "/demo";

/// What is said with each file besides its type. The page may run its one script, use its one style sheet,
/// and talk to where it came from; nothing else, and nobody may frame it.
pub fn headers() -> [(&'static str, String); 5] {
    let style = FILES[0].text.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let style = style.map_or("", |(style, _)| style);
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'sha256-{hash}'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff".into()),
        ("referrer-policy", "no-referrer".into()),
        ("cross-origin-opener-policy", "same-origin".into()),
        ("cache-control", "no-cache".into()),
    ]
}
