//! Addresses and ports that the private engine and the host do not both use.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// An IPv4 network that begins with its address and has `prefix` fixed bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
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

    /// As routes are written: `10.0.2.0/24`.
    pub(crate) fn cidr(self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    /// Where slirp4netns answers DNS queries by asking the host's resolver.
    pub(crate) fn dns(self) -> Ipv4Addr {
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
pub(crate) fn choose(routes: &str) -> Network {
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

/// Where hosts take no ports for outgoing connections.
const PORTS: RangeInclusive<u16> = 61_000..=64_999;

/// How many random ports an engine gets.
const BLOCK: u16 = 500;

/// The ports an engine hands out for `-p 127.0.0.1::80`. It cannot see what
/// listens on the host, and engines from 28 on give up at the first port that
/// is taken; so each engine (`seed` says which) gets a block of its own where
/// nobody listens now. `listening` are `/proc/net/tcp` and `tcp6`.
pub(crate) fn random_ports(seed: u64, listening: &str) -> RangeInclusive<u16> {
    let taken = parse_listening(listening);
    let blocks: Vec<RangeInclusive<u16>> = PORTS
        .step_by(usize::from(BLOCK))
        .map(|first| first..=first + BLOCK - 1)
        .collect();
    let count = blocks.len() as u64;
    let preferred = (0..count).filter_map(|n| blocks.get(usize::try_from((seed % count + n) % count).ok()?));
    let free = |block: &&RangeInclusive<u16>| !taken.iter().any(|port| block.contains(port));
    preferred.into_iter().find(free).cloned().unwrap_or(PORTS)
}

/// Local ports of sockets in state LISTEN.
fn parse_listening(table: &str) -> Vec<u16> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let listens = fields.nth(1)? == "0A";
        let (_, port) = local.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| listens)
    };
    table.lines().filter_map(parse).collect()
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

    #[test]
    fn engines_get_blocks_of_random_ports() {
        assert_eq!(random_ports(0, ""), 61_000..=61_499);
        assert_eq!(random_ports(7, ""), 64_500..=64_999);
        assert_eq!(random_ports(8, ""), random_ports(0, ""));
    }

    #[test]
    fn a_block_where_somebody_listens_is_left_alone() {
        // 127.0.0.1:61001 listens, 127.0.0.1:61500 is a connection's end.
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:EE49 00000000:0000 0A 0:0\n   \
                     1: 0100007F:F03C 0100007F:0050 01 0:0\n";
        assert_eq!(random_ports(0, table), 61_500..=61_999);
        assert_eq!(random_ports(3, table), 62_500..=62_999);
    }

    #[test]
    fn without_a_free_block_all_are_offered() {
        let all: String = (0..8)
            .map(|n| format!("0: 0100007F:{:04X} 00000000:0000 0A\n", 61_000 + n * 500))
            .collect();
        assert_eq!(random_ports(0, &all), 61_000..=64_999);
    }
}
