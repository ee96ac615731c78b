//! PostgreSQL as clients reach it through a published port, as far as it can be
//! told without a password.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// `SSLRequest`: the server answers it with one byte, before any login.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Whether PostgreSQL answers there; a sentence where it does not. An engine's
/// proxy takes connections whatever is behind it, so that one alone says nothing.
///
/// # Errors
/// What was there instead.
pub fn answers(address: SocketAddr, limit: Duration) -> Result<(), String> {
    let said = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.write_all(&SSL_REQUEST)?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    match said() {
        Ok(b'N' | b'S') => Ok(()),
        Ok(byte) => Err(format!("{address} answered {byte:#04x}, which is not PostgreSQL")),
        Err(error) => Err(format!("PostgreSQL at {address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// What is said of a server that answers with these bytes.
    fn said(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            asked
        });
        let said = answers(address, Duration::from_secs(5));
        assert_eq!(server.join().unwrap(), SSL_REQUEST);
        said
    }

    #[test]
    fn only_postgresql_answers_as_it_does() {
        assert_eq!(said(b"N"), Ok(()));
        assert_eq!(said(b"S"), Ok(()));
        assert!(said(b"HTTP/1.1").unwrap_err().contains("answered 0x48"));
        // A proxy that finds nobody behind it.
        assert!(said(b"").unwrap_err().starts_with("PostgreSQL at 127.0.0.1:"));
    }

    #[test]
    fn nobody_is_nobody() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(answers(port, Duration::from_secs(1)).is_err());
    }
}
