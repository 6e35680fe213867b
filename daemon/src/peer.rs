//! Who is at the other end of a connection, as far as shares go by it.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of the network that one customer of a provider gets: addresses within it cost nothing.
const IPV6_NETWORK_BITS: u32 = 64;

/// What has one share: an IPv4 address however it is written, an IPv6 network, or all of this
/// machine's processes that come by a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Network(IpAddr),
    Local,
}

impl Peer {
    pub fn at(address: IpAddr) -> Peer {
        Peer::Network(match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128 - IPV6_NETWORK_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits))
            }
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_peer_and_a_mapped_address_is_the_ipv4_one() {
        let peer = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2:0:0:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }
}
