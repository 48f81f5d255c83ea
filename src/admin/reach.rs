//! Where upstreams of the Admin API may not lead: to the gateway's own addresses, and to those of metadata services.
//!
//! Whoever may write an upstream would otherwise reach, through the gateway, what answers this machine alone
//! (server-side request forgery). What is in the configuration file is its owner's word and isn't looked at.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use tonic::Status;

use crate::admin::faults;
use crate::config::Config;
use crate::config::Origin;
use crate::config::resource::Kind;

/// Refuses upstreams of the store with such an endpoint.
///
/// # Errors
/// The endpoint, and what to do instead.
pub fn check(config: &Config) -> Result<(), Status> {
    let own = [Some(config.admin.address), config.status.as_ref().map(|status| status.address)];
    let own: Vec<SocketAddr> = own.into_iter().flatten().collect();
    let stored =
        config.upstreams.iter().filter(|up| config.origin(Kind::Upstream, &up.name) == Some(Origin::Store));
    for upstream in stored {
        for (at, endpoint) in upstream.endpoints.iter().enumerate() {
            let Some(why) = why_not(&endpoint.host, endpoint.port, &own) else { continue };
            let field = format!("upstreams/{}: endpoints[{at}].address", upstream.name);
            let told = format!(
                "{} {why}; write that upstream into the configuration file if it is meant",
                endpoint.address
            );
            return Err(faults::invalid(&field, told));
        }
    }
    Ok(())
}

fn why_not(host: &str, port: u16, own: &[SocketAddr]) -> Option<&'static str> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = match name.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical()),
        Err(_) if name == "localhost" || name.ends_with(".localhost") => {
            Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        }
        Err(_) => None,
    };
    // Resolvers read such names as addresses: 127.1, 2130706433, 0x7f000001.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if address.is_none() && is_number {
        return Some("is an address in a spelling of its own: write it as four numbers, or as IPv6");
    }
    let Some(address) = address else {
        let is_metadata = METADATA_NAMES.contains(&name.as_str());
        return is_metadata.then_some("is the metadata service of a cloud");
    };
    if is_link_local(address) || address == IpAddr::V6(AWS_METADATA) {
        return Some("is an address of this link, where clouds have their metadata services");
    }
    let leads = |own: &SocketAddr| {
        let mine = own.ip().to_canonical();
        let here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        own.port() == port && (mine == address || here(address) && (here(mine) || mine.is_unspecified()))
    };
    own.iter().any(leads).then_some("is the gateway's own address of the Admin API or of its status")
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata"];
const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_itself_and_metadata_are_out_of_reach() {
        let own = ["127.0.0.1:9900".parse().unwrap(), "0.0.0.0:9901".parse().unwrap()];
        for (host, port, refused) in [
            ("127.0.0.1", 50051, false),
            ("127.0.0.1", 9900, true),
            ("127.0.0.2", 9900, true),
            ("::1", 9900, true),
            ("::ffff:127.0.0.1", 9900, true),
            ("localhost", 9900, true),
            ("LOCALHOST.", 9900, true),
            ("0.0.0.0", 9901, true),
            ("10.0.0.1", 9900, false),
            ("169.254.169.254", 80, true),
            ("fe80::1", 80, true),
            ("fd00:ec2::254", 80, true),
            ("metadata.google.internal", 80, true),
            ("pets.internal", 9900, false),
            ("127.1", 50051, true),
            ("2130706433", 50051, true),
            ("0x7f000001", 50051, true),
            ("pets.internal.0x7f", 50051, true),
            ("v2.pets", 50051, false),
        ] {
            assert_eq!(why_not(host, port, &own).is_some(), refused, "{host}:{port}");
        }
    }
}
