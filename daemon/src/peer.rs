//! Who is at the other end of a connection, as far as shares go by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bits of the network that one customer of a provider gets: addresses within it cost nothing.
const IPV6_NETWORK_BITS: u32 = 64;

/// Bits in front of an IPv4 address that a translator has put into an IPv6 one, and what they are
/// (RFC 6052).
const TRANSLATED_BITS: u32 = 96;
const TRANSLATED: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// What has one share: an IPv4 address however it is written, an IPv6 host of the box's own network, an
/// IPv6 network elsewhere, or all of this machine's processes that come by a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address, or the first one of a network.
    Network(IpAddr),
    /// An address that means something on one link only, and the link's number.
    OnLink(Ipv6Addr, u32),
    Local,
}

impl Peer {
    /// Tells who has connected from `client` to the box's address `reached`. A host in the same IPv6
    /// network as that address is a neighbour, one of many in a plant.
    pub fn connected(client: SocketAddr, reached: Option<IpAddr>) -> Peer {
        let reached = reached.map(|address| address.to_canonical());
        match (client.ip().to_canonical(), client, reached) {
            (IpAddr::V6(address), SocketAddr::V6(client), _) if address.is_unicast_link_local() => {
                Peer::OnLink(address, client.scope_id())
            }
            (IpAddr::V6(address), _, Some(IpAddr::V6(reached)))
                if network(address) == network(reached) =>
            {
                Peer::Network(address.into())
            }
            (address, ..) => Peer::at(address),
        }
    }

    /// Tells whose an address is, wherever it was reached.
    pub fn at(address: IpAddr) -> Peer {
        Peer::Network(match address.to_canonical() {
            IpAddr::V6(address) => match translated(address) {
                Some(v4) => v4.into(),
                // A site's own addresses: each is a host of the plant.
                None if address.is_unique_local() || address.is_unicast_link_local() => {
                    address.into()
                }
                None => network(address).into(),
            },
            v4 => v4,
        })
    }
}

fn network(address: Ipv6Addr) -> Ipv6Addr {
    let host_bits = 128 - IPV6_NETWORK_BITS;
    Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits)
}

/// Gives the IPv4 address of a client that came through a translator.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let host_bits = 128 - TRANSLATED_BITS;
    let is_translated = address.to_bits() >> host_bits == TRANSLATED.to_bits() >> host_bits;
    let host = u32::try_from(address.to_bits() & u128::from(u32::MAX)).ok()?;
    is_translated.then(|| Ipv4Addr::from_bits(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_peer_and_an_ipv4_address_is_one_however_it_is_written() {
        let peer = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_eq!(peer("64:ff9b::192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2:0:0:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }

    #[test]
    fn each_host_of_the_plant_is_a_peer_of_its_own() {
        let peer = |client: &str, reached: &str| {
            Peer::connected(client.parse().unwrap(), Some(reached.parse().unwrap()))
        };
        for (one, other, reached) in [
            ("[fe80::1%2]:9", "[fe80::2%2]:9", "fe80::9"),
            // The same address on another link is another host.
            ("[fe80::1%2]:9", "[fe80::1%3]:9", "fe80::9"),
            ("[fd00:1::1]:9", "[fd00:1::2]:9", "fd00:1::9"),
            ("[fd00:1::1]:9", "[fd00:1::2]:9", "fd00:2::9"),
            ("[2001:db8::1]:9", "[2001:db8::2]:9", "2001:db8::9"),
            ("[::ffff:192.0.2.1]:9", "[::ffff:192.0.2.2]:9", "::ffff:192.0.2.9"),
        ] {
            assert_ne!(peer(one, reached), peer(other, reached), "{one} {other} at {reached}");
            let again = one.replace(":9", ":10");
            assert_eq!(peer(one, reached), peer(&again, reached), "ports don't count");
        }
        let far = "2001:db8:7::9";
        assert_eq!(peer("[2001:db8::1]:9", far), peer("[2001:db8::2]:9", far));
        let mapped = peer("[::ffff:192.0.2.1]:9", "::ffff:192.0.2.9");
        assert_eq!(mapped, peer("192.0.2.1:9", "192.0.2.9"));
    }
}
