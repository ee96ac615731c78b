//! Published ports of the private engine: what docker-proxy does for an engine
//! that shares the host's network.
//!
//! The engine lives in a network namespace of its own, so a docker-proxy it
//! starts would listen where nobody on the host can reach it. A socket belongs
//! to the namespace it was made in for ever; therefore this process makes the
//! listening socket in the host's namespace, moves back into the engine's and
//! connects to the container from there. No interface, route or rule on the
//! host is needed.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The first argument that makes the binary a port forwarder.
pub(crate) const VERB: &str = "forward-port";

/// dockerd reads the outcome of the start from this descriptor: `0` or `1` and
/// a message.
const STATUS: &str = "/proc/self/fd/3";

/// From which ports connections go out in the engine's namespace.
const CLIENT_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The range that the kernel starts with.
const ALL_CLIENT_PORTS: &str = "32768 60999";

/// How long a container may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What dockerd asks for, in docker-proxy's own flags.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    host: SocketAddr,
    container: SocketAddr,
}

/// Serves for as long as dockerd wants if `args` ask for it, which is
/// `<program> forward-port <path of the host's network namespace> -proto …`.
/// Must come before signal handlers: dockerd stops it by SIGINT.
pub fn serve_if_asked(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    // What is no text is nothing that the engine asks.
    let mut args = args.skip(1).map(|arg| arg.to_string_lossy().into_owned());
    if args.next()? != VERB {
        return None;
    }
    let outcome = args
        .next()
        .context("no network namespace given")
        .and_then(|namespace| listen(&namespace, &parse(args)?));
    let (listener, container) = match outcome {
        Ok(ready) => ready,
        Err(error) => {
            tell(&format!("1\n{error:#}"));
            return Some(ExitCode::FAILURE);
        }
    };
    widen_client_ports();
    tell("0\n");
    let Some(listener) = listener else {
        loop {
            std::thread::park();
        }
    };
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                std::thread::spawn(move || forward(&stream, container));
            }
            // Out of descriptors, or the peer is gone already.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Some(ExitCode::SUCCESS)
}

/// dockerd reads this range once, when it starts, for the random ports that it
/// publishes; it is narrow then (see `launch.sh`). Left narrow it would also
/// bound the connections from here to a container: each closed one keeps its
/// port for a minute, so that the 501st within a minute found none and was
/// reset.
fn widen_client_ports() {
    // Where it cannot be written, forwarding works within the narrow range.
    std::fs::write(CLIENT_PORTS, ALL_CLIENT_PORTS).ok();
}

fn tell(status: &str) {
    if let Ok(mut pipe) = File::options().write(true).open(STATUS) {
        // dockerd may be gone; then there is nobody to tell.
        pipe.write_all(status.as_bytes()).ok();
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<Mapping> {
    let (mut host_ip, mut host_port, mut container_ip, mut container_port) = (None, None, None, None);
    let mut args = args;
    while let Some(flag) = args.next() {
        // Newer engines pass the socket they made, but theirs is in the wrong
        // namespace.
        if flag == "-use-listen-fd" {
            continue;
        }
        let value = args.next().with_context(|| format!("no value after {flag}"))?;
        match flag.as_str() {
            "-proto" if value == "tcp" => {}
            "-proto" => bail!("the private engine publishes tcp ports only, not {value}"),
            "-host-ip" => host_ip = Some(value.parse::<IpAddr>()?),
            "-host-port" => host_port = Some(value.parse::<u16>()?),
            "-container-ip" => container_ip = Some(value.parse::<IpAddr>()?),
            "-container-port" => container_port = Some(value.parse::<u16>()?),
            _ => bail!("unknown flag {flag}"),
        }
    }
    let address = |ip: Option<IpAddr>, port: Option<u16>, of: &str| {
        let (ip, port) = ip.zip(port).with_context(|| format!("no {of} address given"))?;
        anyhow::Ok(SocketAddr::new(ip, port))
    };
    Ok(Mapping {
        host: address(host_ip, host_port, "host")?,
        container: address(container_ip, container_port, "container")?,
    })
}

/// The socket, made in the host's namespace; `None` where the host has no IPv6
/// and the engine asks for the IPv6 half of a port.
fn listen(host_namespace: &str, mapping: &Mapping) -> Result<(Option<TcpListener>, SocketAddr)> {
    let engine = File::open("/proc/thread-self/ns/net").context("open the engine's network namespace")?;
    let host = File::open(host_namespace).with_context(|| format!("open {host_namespace}"))?;
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the host's network namespace")?;
    let made = bind(mapping.host);
    move_into_link_name_space(engine.as_fd(), Some(LinkNameSpaceType::Network))
        .context("return to the engine's network namespace")?;
    match made {
        Ok(listener) => Ok((Some(listener), mapping.container)),
        Err(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL)
            if mapping.host.is_ipv6() && mapping.host.ip().is_unspecified() =>
        {
            Ok((None, mapping.container))
        }
        Err(error) => Err(error).with_context(|| format!("listen tcp {}", mapping.host)),
    }
}

fn bind(address: SocketAddr) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // The IPv4 half of the port is another process.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1024)?;
    Ok(TcpListener::from(socket))
}

/// Copies both ways until both sides are done; each half is closed on its own.
fn forward(client: &TcpStream, container: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&container, CONNECT) else {
        return;
    };
    // Small answers must not wait for more to come.
    for stream in [client, &server] {
        stream.set_nodelay(true).ok();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, &server));
        pump(&server, client);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    // A reset by either side ends this direction and nothing more.
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> impl Iterator<Item = String> {
        text.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn flags_of_both_engine_generations() {
        let old = "-proto tcp -host-ip 127.0.0.1 -host-port 8080 -container-ip 172.17.0.2 -container-port 80";
        let mapping = parse(args(old)).unwrap();
        assert_eq!(mapping.host, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(mapping.container, "172.17.0.2:80".parse().unwrap());
        assert_eq!(parse(args(&format!("{old} -use-listen-fd"))).unwrap(), mapping);
    }

    #[test]
    fn what_cannot_be_forwarded_is_refused() {
        let udp = "-proto udp -host-ip 127.0.0.1 -host-port 1 -container-ip 172.17.0.2 -container-port 1";
        assert!(
            parse(args(udp))
                .unwrap_err()
                .to_string()
                .contains("tcp ports only")
        );
        assert!(parse(args("-proto tcp -host-port 1")).is_err());
        assert!(parse(args("-proto")).is_err());
    }

    #[test]
    fn other_command_lines_are_not_ours() {
        let asked = |line: &str| serve_if_asked(args(line).map(OsString::from));
        assert!(asked("xtask engine up").is_none());
        assert!(asked("xtask").is_none());
    }

    #[test]
    fn bytes_travel_both_ways_and_halves_close() {
        use std::io::Read as _;
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let front = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = front.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            stream.write_all(all.to_uppercase().as_bytes()).unwrap();
        });
        std::thread::spawn(move || forward(&front.accept().unwrap().0, target));
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
    }
}
