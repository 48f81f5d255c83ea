//! The kinds of scalar text: durations, sizes, addresses and the like.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::host::HostPattern;

/// One kind of text: what it is called, how it looks, and whether a text is one.
pub(super) struct Kind {
    /// With its article: `a duration`.
    pub(super) what: &'static str,
    /// In backquotes, what to write.
    pub(super) example: &'static str,
    /// `Err` may say more than the example does; empty says nothing.
    pub(super) check: fn(&str) -> Result<(), String>,
}

pub(super) static TEXT: Kind = Kind { what: "a text", example: "`some text`", check: |_| Ok(()) };

pub(super) static NAME: Kind = Kind {
    what: "a name",
    example: "`pets` or `pets-next` (letters, digits, `.`, `_`, `-`; at most 128)",
    check: |text| {
        fits(text.len() <= 128 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && is_word(text))
    },
};

pub(super) static DURATION: Kind = Kind {
    what: "a duration",
    example: "`250ms`, `2s`, `5m` or `24h`",
    check: |text| match duration(text)? {
        Duration::ZERO => Err("more than zero is needed, such as `250ms`".into()),
        _ => Ok(()),
    },
};

pub(super) static DURATION_OR_ZERO: Kind = Kind {
    what: "a duration",
    example: "`0s`, `250ms`, `2s`, `5m` or `24h`",
    check: |text| duration(text).map(drop),
};

pub(super) static ADDRESS: Kind = Kind {
    what: "an address to listen on",
    example: "`127.0.0.1:8080`, or `0.0.0.0:8080` for every interface",
    check: |text| match text.parse::<SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) if text.starts_with(':') => Err(format!("write `0.0.0.0{text}` for every interface")),
        Err(_) if text.starts_with("localhost:") => Err("write `127.0.0.1` instead of `localhost`".into()),
        Err(_) if text.parse::<IpAddr>().is_ok() => Err(format!("add the port: `{text}:8080`")),
        Err(_) => Err(String::new()),
    },
};

pub(super) static ENDPOINT: Kind = Kind {
    what: "the address of a server",
    example: "`127.0.0.1:50051`, `[::1]:50051` or `pets.internal:50051`",
    check: |text| endpoint(text).map(drop),
};

pub(super) static HTTP_URL: Kind = Kind {
    what: "a URL",
    example: "`https://id.example.com/path`",
    check: |text| url(text, &["http", "https"]),
};

pub(super) static REDIS_URL: Kind = Kind {
    what: "the URL of a Redis",
    example: "`redis://127.0.0.1:6379` or `rediss://redis.example.com:6380`",
    check: |text| url(text, &["redis", "rediss"]),
};

pub(super) static ORIGIN: Kind = Kind {
    what: "an origin",
    example: "`https://app.example.com`, `https://*.example.com`, `\"null\"` in quotes, or `*` for every one",
    check: origin,
};

pub(super) static VERB: Kind = Kind {
    what: "an HTTP method",
    example: "`PURGE`, in capitals",
    check: |text| {
        fits((1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'))
    },
};

pub(super) static HOST: Kind = Kind {
    what: "a host pattern",
    example: "`api.example.com`, `*.example.com` or `*`",
    check: |text| HostPattern::parse(text).map(drop),
};

pub(super) static SERVER_NAME: Kind = Kind {
    what: "the name of a host",
    example: "`pets.internal`",
    check: |text| match HostPattern::parse(text) {
        Ok(HostPattern::Exact(_)) => Ok(()),
        Ok(_) => Err("one host is needed here, not a pattern".into()),
        Err(why) => Err(why),
    },
};

pub(super) static ACME_DIRECTORY: Kind = Kind {
    what: "the URL of an ACME directory",
    example: "`https://acme-v02.api.letsencrypt.org/directory`",
    // RFC 8555, section 6.1: ACME is spoken over HTTPS alone.
    check: |text| {
        url(text, &["https"])?;
        let uri: http::Uri = text.parse().map_err(|_| String::new())?;
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(String::new());
        };
        let is_host = authority.as_str() == authority.host();
        fits(is_host || authority.port_u16().is_some_and(|port| port != 0))
    },
};

pub(super) static ACME_DOMAIN: Kind = Kind {
    what: "the name of a host",
    example: "`api.example.com`",
    check: |text| {
        if text.contains('*') {
            return Err("no challenge that a listener can answer proves a wildcard: list each host, \
                 or give a certificate of the wildcard by `certificates`"
                .into());
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<IpAddr>().is_ok() {
            return Err("certificates are asked for names, not for addresses".into());
        }
        if text.contains(':') {
            return Err("leave the port out: authorities look at 443 and 80".into());
        }
        (SERVER_NAME.check)(text)
    },
};

pub(super) static EMAIL: Kind = Kind {
    what: "an e-mail address",
    example: "`ops@example.com`",
    check: |text| {
        if text.starts_with("mailto:") {
            return Err("leave `mailto:` out".into());
        }
        let is_text = text.len() <= 254 && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        fits(is_text && text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty()))
    },
};

/// One page's origin, for where a pattern would let too many in.
pub(super) static PAGE_ORIGIN: Kind = Kind {
    what: "the origin of a web page",
    example: "`https://console.example.com`",
    check: |text| {
        if text == "null" || text.contains('*') {
            return Err("list each page's origin, such as `https://console.example.com`".into());
        }
        origin(text)
    },
};

pub(super) static SAN: Kind = Kind {
    what: "a name in a certificate",
    example: "`ci.example.com`, `spiffe://example.com/ci` or `ci@example.com`",
    check: |text| fits((1..=2048).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())),
};

pub(super) static MODULE_GLOB: Kind = Kind {
    what: "a name of modules",
    example: "`pets`, `team-*` or `*` (`*` is any run of characters)",
    check: |text| {
        let is_part = |b: u8| b == b'*' || b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        fits((1..=128).contains(&text.len()) && text.bytes().all(is_part))
    },
};

pub(super) static CIDR: Kind = Kind {
    what: "a range of addresses",
    example: "`10.0.0.0/8`, `192.0.2.1/32` or `fd00::/8`",
    check: |text| match text.parse::<ipnet::IpNet>() {
        Ok(_) => Ok(()),
        Err(_) => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => Err(format!("write `{text}/32` for one address")),
            Ok(IpAddr::V6(_)) => Err(format!("write `{text}/128` for one address")),
            Err(_) => Err(String::new()),
        },
    },
};

pub(super) static PATH: Kind = Kind {
    what: "a path",
    example: "`tls/api.crt` (relative to this file) or `/etc/transom/api.crt`",
    check: |text| fits(!text.contains('\0') && text.len() <= 4096),
};

/// A path in a file, and PEM itself in a resource.
pub(super) static PEM_PATH: Kind = Kind {
    what: "a path",
    example: "`tls/api.crt` (relative to this file) or `/etc/transom/api.crt`",
    check: |text| fits(text.starts_with(PEM_START) || (PATH.check)(text).is_ok()),
};

pub(super) static URL_PATH: Kind =
    Kind { what: "the path of a URL", example: "`/openapi.json`", check: |text| fits(is_url_path(text)) };

pub(super) static URL_PREFIX: Kind =
    Kind { what: "the path of a URL", example: "`/api`", check: |text| fits(is_url_path(text)) };

pub(super) static KEY_PREFIX: Kind =
    Kind { what: "a prefix of keys", example: "`/transom`", check: |text| fits(text.starts_with('/')) };

pub(super) static SERVICE: Kind = Kind {
    what: "the full name of a service",
    example: "`pets.v1.PetStore`",
    check: |text| fits(is_proto_name(text)),
};

pub(super) static PACKAGE: Kind =
    Kind { what: "a protobuf package", example: "`pets.v1`", check: |text| fits(is_proto_name(text)) };

pub(super) static METHOD: Kind = Kind {
    what: "a method",
    example: "`pets.v1.PetStore/GetPet`",
    check: |text| match text.trim_start_matches('/').split_once('/') {
        Some(_) if text.starts_with('/') => Err(format!("leave the first slash out: `{}`", &text[1..])),
        Some((service, method)) => {
            fits(is_proto_name(service) && is_proto_name(method) && !method.contains('.'))
        }
        None => Err(String::new()),
    },
};

pub(super) static HEADER: Kind = Kind {
    what: "the name of a header",
    example: "`x-api-key`, in lower case",
    check: |text| fits(is_header(text)),
};

pub(super) static LIMIT_KEY: Kind = Kind {
    what: "what to count by",
    example: "`consumer`, `ip`, `method`, `api`, `global`, `header:x-tenant` or `claim:sub`",
    check: |text| match text.split_once(':') {
        Some(("header", name)) => fits(is_header(name)),
        Some(("claim", name)) => fits(!name.is_empty()),
        Some(_) => Err(String::new()),
        None => fits(["consumer", "ip", "method", "api", "global"].contains(&text)),
    },
};

pub(super) static SHA256: Kind = Kind {
    what: "a SHA-256",
    example: "its 64 hexadecimal digits",
    check: |text| fits(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())),
};

pub(super) static ARGON2: Kind = Kind {
    what: "an argon2id hash",
    example: "`$$argon2id$$v=19$$m=19456,t=2,p=1$$...` (a dollar is written twice)",
    check: |text| fits(text.starts_with("$argon2id$")),
};

/// A whole number.
pub(super) fn integer(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(String::new());
    }
    text.parse().map_err(|_| "this number is too large".into())
}

/// A number from 0 to 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let is_number = text.len() <= 20
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = text.parse::<f64>().ok().filter(|value| is_number && (0.0..=1.0).contains(value));
    value.ok_or_else(String::new)
}

/// A whole number of `ms`, `s`, `m` or `h`; at most ten years.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !number.is_empty() => return Err(format!("say the unit: `{text}s` or `{text}ms`")),
        "d" if !number.is_empty() => return Err("write days as hours: `24h`".into()),
        "us" | "µs" | "ns" => return Err("the smallest unit is `ms`".into()),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => {
            return Err("write one whole number and its unit: `1500ms`, not `1.5s` or `1s500ms`".into());
        }
        _ => return Err(String::new()),
    };
    let value = integer(number)?.checked_mul(milliseconds).filter(|value| *value <= DURATION_MS_MAX);
    value.map(Duration::from_millis).ok_or_else(|| "at most ten years, `87600h`".into())
}

/// A whole number of `B`, `KiB`, `MiB` or `GiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if !number.is_empty() => return Err(format!("say the unit: `{text}B`, or as `64KiB`")),
        "K" | "k" | "KB" | "kB" | "kb" if !number.is_empty() => return Err(format!("write `{number}KiB`")),
        "M" | "m" | "MB" | "mb" if !number.is_empty() => return Err(format!("write `{number}MiB`")),
        "G" | "g" | "GB" | "gb" if !number.is_empty() => return Err(format!("write `{number}GiB`")),
        _ => return Err(String::new()),
    };
    integer(number)?.checked_mul(bytes).ok_or_else(|| "this size is too large".into())
}

/// Bytes as a reader would write them.
pub(super) fn size_text(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(shift, _)| bytes != 0 && *shift <= bytes.trailing_zeros());
    whole.map_or_else(|| format!("{bytes}B"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Host and port of a server; the host is a name or an address without brackets.
pub(super) fn endpoint(text: &str) -> Result<(&str, u16), String> {
    if text.contains("://") {
        return Err("leave the scheme out: host and port alone, and `tls:` on the upstream for TLS".into());
    }
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err("only TCP servers can be called; give its host and port".into());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("add the port: `{text}:50051`"));
    };
    let port = integer(port).ok().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let port = port.ok_or("a port is a number from 1 to 65535")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) if bare.parse::<std::net::Ipv6Addr>().is_ok() => Ok((bare, port)),
        None if host.contains(':') => Err(format!("put brackets around an IPv6 address: `[{host}]:{port}`")),
        None if matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_))) => Ok((host, port)),
        _ => Err(String::new()),
    }
}

/// An origin as browsers write it, or a pattern of such.
fn origin(text: &str) -> Result<(), String> {
    if matches!(text, "*" | "null") {
        return Ok(());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return match HostPattern::parse(text) {
            Ok(_) => Err(format!("say the scheme: `https://{text}`")),
            Err(_) => Err(String::new()),
        };
    };
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
        return Err(String::new());
    }
    if rest.contains(['/', '?', '#']) {
        return Err("an origin has no path and no final slash".into());
    }
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    if !usual.is_empty() && rest.ends_with(usual) {
        return Err(format!("leave `{usual}` out: browsers don't send the usual port of a scheme"));
    }
    if rest.ends_with(':') {
        return Err(String::new());
    }
    if rest == "*" || rest.starts_with("*:") {
        return Err("write `*` alone for every origin, or with a host: `https://*.example.com`".into());
    }
    HostPattern::parse(rest).map(drop)
}

fn url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Err(String::new()) };
    if !schemes.contains(&scheme) {
        return Err(format!("the scheme is one of {}", schemes.join(", ")));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    fits(!host.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) && text.len() <= 2048)
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
}

fn is_header(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(is_token)
}

fn is_proto_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.len() <= 512 && text.split('.').all(is_part)
}

fn fits(holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(String::new()) }
}

/// The first bytes of PEM.
pub(super) const PEM_START: &str = "-----BEGIN";
const DURATION_MS_MAX: u64 = 87_600 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_one_number_and_a_unit() {
        for (text, ms) in [("250ms", 250), ("2s", 2000), ("5m", 300_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1s500ms",
            "1d",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615h",
            "１s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_one_number_and_a_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("4MiB", 4 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size_text(bytes), text);
        }
        for text in ["", "64", "64KB", "KiB", "-1B", "1.5MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_host_and_port() {
        assert_eq!(endpoint("[::1]:50051"), Ok(("::1", 50051)));
        assert_eq!(endpoint("pets.internal:1"), Ok(("pets.internal", 1)));
        for text in [
            "",
            "a",
            "a:0",
            "a:65536",
            "::1:80",
            "[::1]",
            "[a]:1",
            "http://a:1",
            "unix:/a",
            "*.a:1",
            "a b:1",
            "a:+1",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ratios_are_plain_decimals() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        assert_eq!(ratio("1"), Ok(1.0));
        for text in ["", "1.1", "-0.1", "nan", "inf", "1e-3", ".5", "0.1.2"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }
}
