//! The addresses between the private engine and the host.

use std::net::Ipv4Addr;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    prefix: u32,
}

/// Networks that nobody else is likely to use; none lies in what engines take
/// for their bridges (172.16.0.0/12, 192.168.0.0/16).
const CANDIDATES: [Network; 4] = [
    Network::new(10, 0, 2),
    Network::new(10, 233, 71),
    Network::new(100, 127, 71),
    Network::new(198, 19, 71),
];

impl Network {
    const fn new(a: u8, b: u8, c: u8) -> Self {
        Self {
            address: Ipv4Addr::new(a, b, c, 0),
            prefix: 24,
        }
    }

    /// `10.0.2.0/24`.
    pub fn cidr(self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    /// Where slirp4netns answers DNS queries by asking the host's resolver.
    pub fn dns(self) -> Ipv4Addr {
        let [a, b, c, _] = self.address.octets();
        Ipv4Addr::new(a, b, c, 3)
    }

    fn overlaps(self, other: Self) -> bool {
        let bits = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }
}

/// A network that no route of the host covers, so that containers reach every
/// host the host reaches. `routes` is `/proc/net/route`.
pub fn choose(routes: &str) -> Network {
    let taken = parse_routes(routes);
    let free = |candidate: &Network| !taken.iter().any(|network| network.overlaps(*candidate));
    // A host that routes all of them: one is shadowed inside, all else works.
    CANDIDATES.into_iter().find(free).unwrap_or(CANDIDATES[0])
}

/// All networks but the default route, which covers everything.
fn parse_routes(routes: &str) -> Vec<Network> {
    let hex = |field: Option<&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    let parse = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let address = Ipv4Addr::from(hex(fields.next())?);
        let prefix = hex(fields.nth(5))?.leading_ones();
        (prefix > 0).then_some(Network { address, prefix })
    };
    routes.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn default_route_does_not_count() {
        let routes = format!("{HEAD}eth0\t00000000\t010002C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert_eq!(choose(&routes).cidr(), "10.0.2.0/24");
        assert_eq!(choose(&routes).dns().to_string(), "10.0.2.3");
    }

    #[test]
    fn a_routed_network_is_avoided() {
        // 10.0.2.0/24, as in many virtual machines.
        let routes = format!("{HEAD}eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert_eq!(parse_routes(&routes)[0].cidr(), "10.0.2.0/24");
        assert_eq!(choose(&routes).cidr(), "10.233.71.0/24");
        // 10.0.0.0/8, as in many companies.
        let routes = format!("{HEAD}eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n");
        assert_eq!(choose(&routes).cidr(), "100.127.71.0/24");
    }

    #[test]
    fn a_host_that_routes_everything_still_gets_one() {
        let all: String = ["0000000A", "00007F64", "000013C6"]
            .map(|net| format!("e\t{net}\t0\t1\t0\t0\t0\t000000FF\t0\t0\t0\n"))
            .concat();
        assert_eq!(choose(&all).cidr(), "10.0.2.0/24");
    }
}
