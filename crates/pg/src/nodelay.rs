//! `TCP_NODELAY` on the connections to a database.
//!
//! sqlx 0.9 leaves Nagle's algorithm on and writes each TLS record by itself: a statement of more than one record
//! (16 KiB) then waits for the server's delayed acknowledgement, about 40 ms. sqlx does not hand out its sockets, so
//! they are looked up among the open files of this process.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Sets the option on every TCP connection of this process to `port`.
///
/// # Errors
/// Where the kernel does not allow it (Linux before 5.6, some sandboxes): the connections work, with the delay.
pub(crate) fn set_nodelay(port: u16) -> io::Result<()> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A second descriptor of the same socket; the first one stays with its owner, who may also close it meanwhile.
        let file = match pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()) {
            Ok(file) => file,
            Err(Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_connected_to(&file, port) {
            sockopt::set_tcp_nodelay(&file, true)?;
        }
    }
    Ok(())
}

/// False for whatever is not a TCP connection.
fn is_connected_to(file: &OwnedFd, port: u16) -> bool {
    let peer = getpeername(file).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
    peer.is_some_and(|peer| peer.port() == port)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_port_send_at_once_and_others_are_left_alone() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (database, other) = (listen(), listen());
        let [to_database, to_other] =
            [&database, &other].map(|server| TcpStream::connect(server.local_addr().unwrap()).unwrap());
        set_nodelay(database.local_addr().unwrap().port()).unwrap();
        assert!(to_database.nodelay().unwrap());
        assert!(!to_other.nodelay().unwrap());
    }
}
