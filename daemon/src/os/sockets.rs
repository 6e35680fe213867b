//! Sockets: those that the service manager hands over, and bounds on what the kernel keeps for each.

use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn6, SockaddrLike,
    SockaddrStorage, UnixAddr, bind, connect, getsockname, getsockopt, setsockopt, shutdown,
    socket, sockopt,
};

/// Bounds how many bytes that its client does not take the kernel keeps for each of a listener's
/// connections, and for how long. Accepted sockets inherit both.
///
/// # Errors
/// When the kernel refuses.
pub fn bounded_unsent(
    listener: &TcpListener,
    bytes: usize,
    timeout: Duration,
) -> std::io::Result<()> {
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    setsockopt(listener, sockopt::SndBuf, &bytes)?;
    Ok(setsockopt(listener, sockopt::TcpUserTimeout, &timeout_ms)?)
}

/// Bytes of a socket's path that the kernel takes (sun_path of unix(7), less its end).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A name for a socket's path that is short enough for the kernel, whatever the path's own length, for as
/// long as this lives.
pub struct NearPath {
    path: PathBuf,
    /// The directory that the name begins with, where it is another than the path's own.
    _dir: Option<File>,
}

impl NearPath {
    /// # Errors
    /// When the path is long and its directory can't be opened.
    pub fn of(path: &Path) -> std::io::Result<NearPath> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(NearPath { path: path.to_path_buf(), _dir: None });
        }
        let flags = nix::libc::O_PATH | nix::libc::O_DIRECTORY;
        let dir = File::options().read(true).custom_flags(flags).open(dir)?;
        let near = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(NearPath { path: near, _dir: Some(dir) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Connections that the kernel keeps for a listener to accept.
const BACKLOG: i32 = 128;

/// Tells whether this machine can listen by IPv6. It can't without the kernel's module, with
/// `ipv6.disable=1`, or where a sandbox refuses the family.
pub fn has_ipv6() -> bool {
    listen_to_all(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)).is_ok()
}

/// Listens at an address. All addresses of IPv6 include those of IPv4, whatever the system's default.
///
/// # Errors
/// When the address is taken or not this machine's.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match address {
        SocketAddr::V6(all) if all.ip().is_unspecified() => listen_to_all(all),
        one => TcpListener::bind(one),
    }
}

fn listen_to_all(address: SocketAddrV6) -> std::io::Result<TcpListener> {
    let fd = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    bind(fd.as_raw_fd(), &SockaddrIn6::from(address))?;
    nix::sys::socket::listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Tells whether a process listens on a Unix socket, without waiting for it to accept.
///
/// # Errors
/// When the kernel refuses to ask, as where the file is another user's.
pub fn is_listened_to(path: &Path) -> std::io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &UnixAddr::new(path)?) {
        // It does not keep up with those that wait already.
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells a connection's other end that nothing more will be sent.
///
/// # Errors
/// When the kernel refuses, as for a connection that is gone.
pub fn end_sending(socket: &impl AsFd) -> std::io::Result<()> {
    Ok(shutdown(socket.as_fd().as_raw_fd(), Shutdown::Write)?)
}

/// A listening socket that this process was started with.
#[derive(Debug)]
pub enum Inherited {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes over sockets that the service manager has opened for this process.
///
/// # Errors
/// Says why the descriptor is no listening stream socket.
#[allow(unsafe_code)]
pub fn adopt(fd: RawFd) -> Result<Inherited, String> {
    // SAFETY: the service manager's protocol gives these descriptors to this process alone, and
    // each is adopted once, at start.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let fault = |error: Errno| error.desc().to_string();
    if getsockopt(&fd, sockopt::SockType).map_err(fault)? != SockType::Stream
        || !getsockopt(&fd, sockopt::AcceptConn).map_err(fault)?
    {
        return Err("it is no stream socket that listens".to_string());
    }
    let raw = fd.as_fd().as_raw_fd();
    let address: SockaddrStorage = getsockname(raw).map_err(fault)?;
    match address.family() {
        Some(AddressFamily::Inet | AddressFamily::Inet6) => Ok(Inherited::Tcp(fd.into())),
        Some(AddressFamily::Unix) => Ok(Inherited::Unix(fd.into())),
        other => Err(format!("its address family is {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_whose_process_does_not_accept_is_in_use_and_one_left_behind_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        nix::sys::socket::listen(&fd, Backlog::new(0).unwrap()).unwrap();
        // The first of them fills its queue: whoever waited for a place would wait for ever.
        let answers: Vec<_> = (0..3).map(|_| is_listened_to(&path).unwrap()).collect();
        assert_eq!(answers, [true, true, true]);
        drop(fd);
        assert!(!is_listened_to(&path).unwrap());
    }

    #[test]
    fn all_addresses_of_ipv6_include_those_of_ipv4() {
        if !has_ipv6() {
            return;
        }
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1"] {
            let address: std::net::IpAddr = address.parse().unwrap();
            std::net::TcpStream::connect((address, port)).unwrap();
        }
    }
}
