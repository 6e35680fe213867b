//! Sockets that listen: bound here, or handed over by the service manager. Knows nothing of HTTP.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::peer::Peer;
use super::tcp::{Tcp, Vanishing};
use crate::endpoint::Endpoint;
use crate::os::{self, Inherited, NearPath};

/// Mode of a socket's file: its owner and its group may connect.
const SOCKET_MODE: u32 = 0o660;

/// The same of a socket that is its owner's alone.
const PRIVATE_MODE: u32 = 0o600;

/// What a socket is called until it is whole.
const MAKING: &str = "new";

/// Bytes for each connection that the kernel holds of an answer that its client does not read.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// The kernel keeps the ports below for whoever has a privilege (ip_unprivileged_port_start of ip(7)).
const UNPRIVILEGED_PORT_MIN: u16 = 1024;

/// The kernel tries for so long to deliver what a client does not take, once nobody here waits for it any
/// more.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a server listens.
pub struct Listener {
    socket: Socket,
    /// The address as the log shows it.
    address: String,
    /// The socket's file, which goes with the listener.
    file: Option<SocketFile>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// This one answers only its own user and root.
    Private(UnixListener),
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", advice.map(|text| format!(", {text}")).unwrap_or_default())]
pub struct BindError {
    address: String,
    /// What may be done about it, where the kernel's own word does not say.
    advice: Option<&'static str>,
    source: io::Error,
}

impl BindError {
    fn at(endpoint: &Endpoint, source: io::Error) -> BindError {
        let advice = match endpoint {
            Endpoint::Tcp(addr) => bind_advice(addr.port(), &source),
            Endpoint::Unix(_) => None,
        };
        BindError { address: endpoint.to_string(), advice, source }
    }

    /// Why the kernel refused.
    pub fn cause(&self) -> &io::Error {
        &self.source
    }
}

/// Says what a port that may not be bound needs. A low one is refused by the kernel itself, any other by a
/// rule such as systemd's.
pub fn bind_advice(port: u16, error: &io::Error) -> Option<&'static str> {
    let is_refused = error.kind() == io::ErrorKind::PermissionDenied;
    is_refused.then_some(if port < UNPRIVILEGED_PORT_MIN {
        "a port below 1024 needs CAP_NET_BIND_SERVICE, and SocketBindAllow= of the unit must name it"
    } else {
        "SocketBindAllow= of the unit must name the port"
    })
}

impl Listener {
    /// Listens at an address of our own.
    ///
    /// # Errors
    /// When the address is taken or not ours; the address is in the error, which the system's own
    /// text lacks.
    pub fn bind(endpoint: &Endpoint) -> Result<Listener, BindError> {
        let bound = match endpoint {
            Endpoint::Tcp(addr) => os::listen(*addr).and_then(Listener::tcp),
            Endpoint::Unix(path) => {
                SocketFile::bind(path, SOCKET_MODE).map(|(socket, file)| Listener {
                    socket: Socket::Unix(socket),
                    address: endpoint.to_string(),
                    file: Some(file),
                })
            }
        };
        bound.map_err(|source| BindError::at(endpoint, source))
    }

    /// Takes over a socket that the service manager keeps: dropping it here closes our copy only, and what
    /// connects meanwhile waits in the manager's for the next process.
    ///
    /// # Errors
    /// When the kernel does not say where it listens.
    pub fn inherited(socket: Inherited) -> io::Result<Listener> {
        match socket {
            Inherited::Tcp(listener) => Listener::tcp(listener),
            Inherited::Unix(listener) => {
                let addr = listener.local_addr()?;
                let address = match (addr.as_pathname(), addr.as_abstract_name()) {
                    (Some(path), _) => format!("unix:{}", path.display()),
                    (None, name) => {
                        format!("@{}", String::from_utf8_lossy(name.unwrap_or_default()))
                    }
                };
                Ok(Listener { socket: Socket::Unix(listener), address, file: None })
            }
        }
    }

    fn tcp(listener: TcpListener) -> io::Result<Listener> {
        os::bounded_unsent(&listener, SEND_BUFFER_BYTES, DELIVERY_TIMEOUT)?;
        let address = listener.local_addr()?.to_string();
        Ok(Listener { socket: Socket::Tcp(listener), address, file: None })
    }

    /// Listens on a socket that answers only its own user and root.
    ///
    /// # Errors
    /// When another process listens there, another file is in its place, or the disk refuses.
    pub fn private(path: &Path) -> Result<Listener, BindError> {
        let address = format!("unix:{}", path.display());
        match SocketFile::bind(path, PRIVATE_MODE) {
            Ok((socket, file)) => {
                Ok(Listener { socket: Socket::Private(socket), address, file: Some(file) })
            }
            Err(source) => Err(BindError { address, advice: None, source }),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        let Socket::Tcp(listener) = &self.socket else { return true };
        listener.local_addr().is_ok_and(|addr| addr.ip().to_canonical().is_loopback())
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes the listener known to the runtime that this is called in.
    pub(super) fn register(self) -> io::Result<AsyncListener> {
        let socket = match self.socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                AsyncSocket::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                AsyncSocket::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
            Socket::Private(listener) => {
                listener.set_nonblocking(true)?;
                AsyncSocket::Private(tokio::net::UnixListener::from_std(listener)?)
            }
        };
        Ok(AsyncListener { socket, _file: self.file })
    }
}

/// A socket's file, which goes with it unless another process has put its own there.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Makes the socket under another name, gives it its mode, and moves it into place: nobody finds it
    /// half made, and one that a killed daemon left behind is replaced.
    fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
        let near = NearPath::of(path)?;
        refuse_if_in_use(near.path())?;
        let making = NearPath::of(&path.with_added_extension(MAKING))?;
        let making = making.path();
        match fs::remove_file(making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(making)?;
        fs::set_permissions(making, fs::Permissions::from_mode(mode))?;
        let metadata = fs::symlink_metadata(making)?;
        fs::rename(making, path)?;
        let path = path.to_path_buf();
        Ok((listener, SocketFile { path, device: metadata.dev(), inode: metadata.ino() }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses a place that is taken. What is no socket is somebody's file; a socket that answers is in use.
fn refuse_if_in_use(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    if os::is_listened_to(path)? {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    Ok(())
}

/// A listener that belongs to a runtime.
pub(super) struct AsyncListener {
    socket: AsyncSocket,
    _file: Option<SocketFile>,
}

enum AsyncSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
    Private(tokio::net::UnixListener),
}

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a listener's queue held.
pub(super) enum Accepted {
    Connection(Connected),
    /// Another user's process at a socket that answers its own user only.
    Stranger(u32),
}

/// Who has connected.
pub(super) struct Connected {
    pub stream: Box<dyn Stream>,
    pub peer: Peer,
    pub vanishing: Vanishing,
}

impl Connected {
    fn local(stream: tokio::net::UnixStream) -> Accepted {
        let vanishing = Vanishing::untold();
        Accepted::Connection(Connected { stream: Box::new(stream), peer: Peer::Local, vanishing })
    }
}

impl AsyncListener {
    pub async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            AsyncSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                let reached = stream.local_addr().map(|reached| reached.ip()).ok();
                let peer = Peer::connected(peer, reached);
                let (stream, vanishing) = Tcp::new(stream);
                let stream = Box::new(stream);
                Ok(Accepted::Connection(Connected { stream, peer, vanishing }))
            }
            AsyncSocket::Unix(listener) => Ok(Connected::local(listener.accept().await?.0)),
            AsyncSocket::Private(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred()?.uid();
                let is_ours = user == 0 || user == os::effective_user();
                Ok(if is_ours { Connected::local(stream) } else { Accepted::Stranger(user) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_may_not_be_bound_is_told_with_what_it_needs() {
        for (errno, address, needed) in [
            (1, "[::]:9000", "SocketBindAllow= of the unit must name the port"),
            (13, "[::]:80", "a port below 1024 needs CAP_NET_BIND_SERVICE"),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let error = BindError::at(&address.parse().unwrap(), source).to_string();
            assert!(error.starts_with("cannot listen on ") && error.contains(needed), "{error}");
        }
        let taken = io::Error::from_raw_os_error(98);
        let error = BindError::at(&"[::]:80".parse().unwrap(), taken).to_string();
        assert_eq!(error, "cannot listen on [::]:80");
    }
}
