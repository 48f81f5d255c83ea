//! Host patterns: `api.example.com`, `*.example.com`, `*`.

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv6Addr;

/// Which hosts an API answers on. Orders from the most specific to the least: exact hosts, then
/// wildcards by length, longest first, then any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host, lower case, without port and final dot.
    Exact(String),
    /// One or more labels before this suffix, which is lower case and starts with a dot.
    Suffix(String),
    /// Every host, also none at all.
    Any,
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let folded = fold(text);
        let name = folded.strip_prefix("*.").unwrap_or(&folded);
        if name.contains('*') {
            return Err("write `*` alone or as the whole first label: `*.example.com`".into());
        }
        if text.contains("://") || text.contains('/') {
            return Err("write the host alone, without scheme and path: `api.example.com`".into());
        }
        if HOST_BYTES_MAX < name.len() {
            return Err("a host has at most 253 characters".into());
        }
        let is_address = name.starts_with('[') && name[1..].trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
        if !is_address && !name.split('.').all(is_label) {
            return Err("write a host of letters, digits, `-` and dots; other scripts as `xn--...`".into());
        }
        match folded.strip_prefix('*') {
            Some(suffix) => Ok(Self::Suffix(suffix.into())),
            None => Ok(Self::Exact(folded)),
        }
    }

    /// Whether a request's host or `:authority` fits; case, port and final dot don't count.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => fold_matches(name, host),
            Self::Suffix(suffix) => {
                let host = bare(host);
                let Some(split) = host.len().checked_sub(suffix.len()).filter(|split| 0 < *split) else {
                    return false;
                };
                host.as_bytes()[split..].eq_ignore_ascii_case(suffix.as_bytes())
                    && host[..split].split('.').all(|label| !label.is_empty())
            }
            Self::Any => true,
        }
    }

    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Suffix(suffix) => (1, usize::MAX - suffix.len()),
            Self::Any => (2, 0),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Suffix(name) => name,
            Self::Any => "",
        }
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| self.name().cmp(other.name()))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A host as patterns and routers compare it: lower case, without port and final dot.
pub fn fold(host: &str) -> String {
    bare(host).to_ascii_lowercase()
}

fn fold_matches(name: &str, host: &str) -> bool {
    bare(host).eq_ignore_ascii_case(name)
}

/// Without port and final dot. The colons of a bare IPv6 address are not a port's.
fn bare(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn case_port_and_final_dot_do_not_count() {
        for host in [
            "api.example.com",
            "API.Example.com.",
            "api.example.com:8443",
            "api.example.com.:80",
            "api.example.com:",
        ] {
            assert!(pattern("api.Example.com").matches(host), "{host}");
            assert!(pattern("*.example.COM").matches(host), "{host}");
        }
        assert!(pattern("[::1]").matches("[::1]:8080"));
    }

    #[test]
    fn a_wildcard_is_one_or_more_whole_labels() {
        let wild = pattern("*.example.com");
        for (host, fits) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("a..example.com", false),
            ("badexample.com", false),
            ("a.example.com.evil.org", false),
            ("", false),
            ("é.example.com", true),
            ("éxample.com", false),
        ] {
            assert_eq!(wild.matches(host), fits, "{host}");
        }
        assert!(pattern("*").matches(""));
    }

    #[test]
    fn the_most_specific_orders_first() {
        let mut all: Vec<_> =
            ["*", "*.example.com", "b.example.com", "*.eu.example.com", "a.example.com"].map(pattern).into();
        all.sort();
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a.example.com", "b.example.com", "*.eu.example.com", "*.example.com", "*"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "a.*.com",
            "**.com",
            "*com",
            "https://a.com",
            "a.com/x",
            "a b.com",
            "a..b",
            "münchen.de",
            "-.*",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        assert!(HostPattern::parse(&"a.".repeat(200)).is_err());
    }
}
