//! Sockets that listen: bound here, or handed over by the service manager. Knows nothing of HTTP.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
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
#[error("cannot listen on {address}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl BindError {
    /// Why the kernel refused.
    pub fn cause(&self) -> &io::Error {
        &self.source
    }
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
        bound.map_err(|source| BindError { address: endpoint.to_string(), source })
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
            Err(source) => Err(BindError { address, source }),
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
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
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
                let (stream, vanishing) = Tcp::new(stream);
                let (stream, peer) = (Box::new(stream), Peer::at(peer.ip()));
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
