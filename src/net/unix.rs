//! The Unix datagram socket: its file, its mode, and who may be in the way.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{info, warn};

/// Why a Unix socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Somebody receives there.
    #[error("{} is the socket of a running process", .0.display())]
    Live(PathBuf),
    /// A file that is no socket; it may be somebody's data.
    #[error("{} exists and is no socket; remove it or choose another path", .0.display())]
    NoSocket(PathBuf),
    /// A left-over socket that cannot be looked at or removed, or a path that cannot be bound.
    #[error("cannot bind the Unix socket {}", path.display())]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound Unix datagram socket.
#[derive(Debug)]
pub(super) struct Bound {
    /// The socket, non-blocking.
    pub(super) socket: Arc<Socket>,
    /// Its file; an abstract socket has none.
    pub(super) file: Option<SocketFile>,
}

/// The file of a bound socket; removed when dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Binds a datagram socket; `@name` is an abstract one, as in Go.
///
/// The file that a killed process left behind is removed first.
pub(super) fn bind(path: &Path, mode: &str) -> Result<Bound, UnixError> {
    let failed = |source| UnixError::Bind { path: path.to_owned(), source };
    let abstract_name = path.as_os_str().as_bytes().strip_prefix(b"@");
    if abstract_name.is_none() {
        clear_way(path)?;
    }
    let address = match abstract_name {
        Some(name) => SockAddr::unix(abstract_path(name)),
        None => SockAddr::unix(path),
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&address.map_err(failed)?).map_err(failed)?;
    let file = match abstract_name {
        Some(_) => None,
        None => Some(SocketFile::of(path).map_err(failed)?),
    };
    if file.is_some() {
        set_mode(path, mode);
    }
    Ok(Bound { socket: Arc::new(socket), file })
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), %error, "The Unix socket could not be removed.");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The kernel knows an abstract name by the zero byte before it.
fn abstract_path(name: &[u8]) -> PathBuf {
    let mut bytes = vec![0];
    bytes.extend_from_slice(name);
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Removes a socket that nobody is bound to; anything else at the path is an error.
fn clear_way(path: &Path) -> Result<(), UnixError> {
    let failed = |source| UnixError::Bind { path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(UnixError::NoSocket(path.to_owned()));
    }
    let probe = UnixDatagram::unbound().map_err(failed)?;
    match probe.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
            info!(path = %path.display(), "Removed a Unix socket that nobody was bound to.");
            Ok(())
        }
        // A socket of another type is bound: it is somebody's as well.
        Err(error) if error.raw_os_error() != Some(libc::EPROTOTYPE) => Err(failed(error)),
        _ => Err(UnixError::Live(path.to_owned())),
    }
}

/// Sets the file's mode; a bad one is worth a warning only, as in the reference.
fn set_mode(path: &Path, mode: &str) {
    let Some(bits) = parse_mode(mode) else {
        warn!(
            mode,
            "`--statsd.unixsocket-mode` is no octal number such as 755; the socket keeps the mode \
             that the umask gives."
        );
        return;
    };
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(bits)) {
        let path = path.display();
        warn!(%path, %error, mode, "The mode of the Unix socket could not be changed.");
    }
}

/// Reads octal digits; none at all are 0, and only the permission bits are kept, as in Go.
fn parse_mode(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    i32::from_str_radix(&format!("0{text}"), 8).ok()?.try_into().ok().map(|bits: u32| bits & 0o777)
}

/// Returns how a Unix address is written in logs and errors.
pub(super) fn display_name(path: &Path) -> String {
    let text: &OsStr = path.as_os_str();
    format!("unixgram:{}", text.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_left_over_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(path.exists());
        let bound = bind(&path, "755").unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"a:1|c", &path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn what_somebody_uses_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let live = UnixDatagram::bind(path("live")).unwrap();
        let stream = UnixListener::bind(path("stream")).unwrap();
        fs::write(path("file"), "data").unwrap();
        check_refused(&path("live"), "live is the socket of a running process");
        check_refused(&path("stream"), "stream is the socket of a running process");
        check_refused(&path("file"), "file exists and is no socket");
        check_refused(dir.path(), "exists and is no socket");
        check_refused(&path("no/such/dir"), "cannot bind the Unix socket");
        check_refused(&path(&"x".repeat(200)), "cannot bind the Unix socket");
        assert_eq!(fs::read(path("file")).unwrap(), b"data");
        drop((live, stream));
    }

    #[test]
    fn a_second_server_does_not_take_the_socket_from_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let first = bind(&path, "755").unwrap();
        assert!(matches!(bind(&path, "755"), Err(UnixError::Live(_))));
        drop(first);
        assert!(bind(&path, "755").is_ok());
    }

    #[test]
    fn a_file_that_another_process_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let bound = bind(&path, "755").unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        let other = UnixDatagram::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn a_mode_is_octal_text() {
        check_mode("600", Some(0o600));
        check_mode("0770", Some(0o770));
        check_mode("1777", Some(0o777));
        check_mode("", Some(0));
        check_mode("rwx", None);
        check_mode("888", None);
        check_mode("-5", None);
        check_mode("+5", None);
        check_mode("77777777777777", None);
    }

    #[test]
    fn a_bad_mode_does_not_keep_the_socket_from_working() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        for (mode, expected) in [("rwx", None), ("600", Some(0o600)), ("0770", Some(0o770))] {
            let bound = bind(&path, mode).unwrap();
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert!(expected.is_none_or(|expected| found == expected), "{mode}: {found:o}");
            drop(bound);
        }
    }

    #[test]
    fn an_abstract_socket_has_no_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("tallyd-test-{}", std::process::id());
        let bound = bind(Path::new(&format!("@{name}")), "755").unwrap();
        assert!(bound.file.is_none());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(b"a:1|c", &address).unwrap();
        assert!(matches!(bind(Path::new(&format!("@{name}")), ""), Err(UnixError::Bind { .. })));
    }

    #[test]
    fn after_the_end_senders_learn_that_nobody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let bound = bind(&path, "755").unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        client.send(b"before").unwrap();
        bound.socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.send(b"after").unwrap_err().raw_os_error(), Some(libc::EPIPE));
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16];
        assert_eq!(bound.socket.recv(&mut buffer).unwrap(), 6);
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        match bind(path, "755") {
            Ok(_) => panic!("{} was bound", path.display()),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[track_caller]
    fn check_mode(text: &str, expected: Option<u32>) {
        assert_eq!(parse_mode(text), expected, "{text}");
    }
}
