//! The proxies that are trusted to say who their clients are.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipnet::Ipv4Net;

/// The addresses of trusted proxies; by default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(Arc<[IpNet]>);

impl Trusted {
    /// The proxies of these networks. IPv4 that is written in IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
    pub fn new(networks: &[IpNet]) -> Self {
        let canonical: Vec<IpNet> = networks.iter().map(|network| canonical(*network)).collect();
        Self(IpNet::aggregate(&canonical).into())
    }

    /// Whether a proxy of that address is trusted.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else { return network };
    let IpAddr::V4(address) = IpAddr::V6(wide.addr()).to_canonical() else { return network };
    let prefix = wide.prefix_len().checked_sub(MAPPED_BITS);
    match prefix.map(|prefix| Ipv4Net::new(address, prefix)) {
        Some(Ok(narrow)) => IpNet::V4(narrow),
        _ => network,
    }
}

/// What stands before an IPv4 address in IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses_of_either_way_to_write_them() {
        let networks = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "::ffff:198.51.100.0/120", "::/0"];
        let trusted = |count: usize| {
            Trusted::new(&networks[..count].iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>())
        };
        for (address, holds) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("198.51.100.7", true),
            ("::ffff:198.51.101.7", false),
        ] {
            assert_eq!(trusted(4).has(address.parse().unwrap()), holds, "{address}");
        }
        assert!(trusted(5).has("2001:db8::1".parse().unwrap()));
        assert!(!trusted(5).has("11.0.0.1".parse().unwrap()), "IPv4 is no part of it");
        assert!(!trusted(0).has("127.0.0.1".parse().unwrap()));
    }
}
