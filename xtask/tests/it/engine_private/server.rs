//! A server in a container, and how it is asked from the host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use engine::Engine;

use super::machine::{Machine, docker};

/// Serves `hello` on port 8000 with what every Debian has. Asked for `/linger`
/// it leaves the first close to the client, as keep-alive does.
const SERVER: &str = r#"perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
    while (my $c = $s->accept) { my $r = <$c>; print $c "HTTP/1.0 200 OK\r\n\r\nhello";
        if ($r =~ /linger/) { 1 while <$c> } close $c }'"#;

/// Starts [`SERVER`] in a container, published on a port of the loopback; returns
/// its ID.
pub(crate) fn serve(machine: &Machine, engine: &Engine, image: &str, name: &str, options: &[&str]) -> String {
    let run = ["run", "-d", "--init", "--name", name, "-p", "127.0.0.1::8000"];
    let server = [image, "sh", "-c", SERVER];
    docker(machine, engine, &[&run, options, &server].concat())
}

/// The body of `GET /`, tried until the server in the container listens.
pub(crate) fn get(address: &str) -> String {
    let started = Instant::now();
    loop {
        let body = try_get(address).unwrap_or_default();
        if !body.is_empty() || started.elapsed() > Duration::from_secs(10) {
            return body;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}
