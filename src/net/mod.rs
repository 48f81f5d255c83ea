//! How Transom sets up every TCP socket, towards clients and upstreams alike.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;

/// Sets a socket to not blocking and not delaying, and to find its peer dead:
/// unacknowledged bytes by TCP_USER_TIMEOUT, silence by keepalive probes.
///
/// # Errors
/// As the system says.
pub fn set_up(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    watch_peer(SockRef::from(socket))
}

/// The same for a socket that a runtime holds already.
///
/// # Errors
/// As the system says.
pub fn set_up_tokio(socket: &tokio::net::TcpStream) -> io::Result<()> {
    watch_peer(SockRef::from(socket))
}

fn watch_peer(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// A silent peer is probed after this.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// And then this often, three times.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
