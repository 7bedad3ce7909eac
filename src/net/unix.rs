//! Unix sockets: their files, who may use them, and who may be in the way.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{Group, User};
use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{info, warn};

/// Who may use a socket's file. To connect or send to it takes the right to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What the flags are called before `.unixsocket-mode` and the others.
    pub flags: &'static str,
    /// Octal digits; anything else is warned of and ignored.
    pub mode: String,
    /// A user's name or number, or nothing for the one we run as.
    pub owner: String,
    /// A group's name or number, or nothing for the one we run as.
    pub group: String,
}

/// Why a Unix socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Somebody receives there.
    #[error("{} is the socket of a running process", .0.display())]
    Live(PathBuf),
    /// A file that is no socket; it may be somebody's data.
    #[error("{} exists and is no socket; remove it or choose another path", .0.display())]
    NoSocket(PathBuf),
    /// An owner or a group that does not exist, or cannot be looked up.
    #[error("`{flag}`: there is no {kind} `{name}`; give a name or a number")]
    Nobody {
        /// The flag's name.
        flag: String,
        /// `user` or `group`.
        kind: &'static str,
        /// What was given.
        name: String,
    },
    /// The file cannot be given away.
    #[error("cannot change the owner of the Unix socket {}", path.display())]
    Owner {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A left-over socket that cannot be looked at or removed, or a path that cannot be bound.
    #[error("cannot bind the Unix socket {}", path.display())]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound Unix socket.
#[derive(Debug)]
pub(super) struct Bound {
    /// The socket, non-blocking.
    pub(super) socket: Socket,
    /// Its file; an abstract socket has none.
    pub(super) file: Option<SocketFile>,
}

/// The file of a bound socket; removed when dropped, unless another process has put its own there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Whether it belongs to a successor by now.
    is_passed_on: Arc<AtomicBool>,
}

/// Binds a socket of one of the two kinds; `@name` is an abstract one, as in Go.
///
/// The file that a killed process left behind is removed first.
pub(super) fn bind(path: &Path, kind: Type, access: &Access) -> Result<Bound, UnixError> {
    let failed = |source| UnixError::Bind { path: path.to_owned(), source };
    let socket = Socket::new(Domain::UNIX, kind, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") {
        let address = SockAddr::unix(abstract_path(name)).map_err(failed)?;
        socket.bind(&address).map_err(failed)?;
        return Ok(Bound { socket, file: None });
    }
    let owner = access.owner()?;
    let mode = access.mode();
    clear_way(path)?;
    if let Some(mode) = mode {
        // The file is made with this mode, so there is no moment in which more may use it.
        fchmod(&socket, Mode::from_raw_mode(mode)).map_err(|error| failed(error.into()))?;
    }
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    if owner != (None, None) {
        lchown(path, owner.0, owner.1)
            .map_err(|source| UnixError::Owner { path: path.to_owned(), source })?;
    }
    if let Some(mode) = mode {
        set_mode(path, mode);
    }
    Ok(Bound { socket, file: Some(file) })
}

impl Access {
    /// A bad mode is worth a warning only, as in the reference.
    fn mode(&self) -> Option<u32> {
        let bits = parse_mode(&self.mode);
        if bits.is_none() {
            warn!(
                mode = self.mode,
                "`{}.unixsocket-mode` is no octal number such as 755; the socket keeps the mode \
                 that the umask gives.",
                self.flags
            );
        }
        bits
    }

    /// The numbers of the user and the group.
    fn owner(&self) -> Result<(Option<u32>, Option<u32>), UnixError> {
        let user = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        let group =
            |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        Ok((
            self.number("user", "owner", &self.owner, user)?,
            self.number("group", "group", &self.group, group)?,
        ))
    }

    fn number(
        &self,
        kind: &'static str,
        flag: &str,
        name: &str,
        look_up: impl Fn(&str) -> Option<u32>,
    ) -> Result<Option<u32>, UnixError> {
        if name.is_empty() {
            return Ok(None);
        }
        let number = name.parse().ok().or_else(|| look_up(name));
        number.map(Some).ok_or_else(|| UnixError::Nobody {
            flag: format!("{}.unixsocket-{flag}", self.flags),
            kind,
            name: name.to_owned(),
        })
    }
}

impl SocketFile {
    /// The file that is there now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let is_passed_on = Arc::default();
        Ok(Self { path: path.to_owned(), identity: identity(path)?, is_passed_on })
    }

    /// What to set when the file is to stay for a successor.
    pub(super) fn passed_on(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_passed_on)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Relaxed: who passes it on drops it on the same thread, or ends the one that does.
        if self.is_passed_on.load(Ordering::Relaxed) {
            return;
        }
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

/// Sets the file's mode past the umask; what cannot be done is worth a warning only, as in the
/// reference.
fn set_mode(path: &Path, bits: u32) {
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(bits)) {
        let path = path.display();
        warn!(%path, %error, "The mode of the Unix socket could not be changed.");
    }
}

/// Reads octal digits; none at all are 0, and only the permission bits are kept, as in Go.
pub(crate) fn parse_mode(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    i32::from_str_radix(&format!("0{text}"), 8).ok()?.try_into().ok().map(|bits: u32| bits & 0o777)
}

/// Returns the path of an address; `@name` for an abstract one.
pub(super) fn path_of(address: &std::os::unix::net::SocketAddr) -> PathBuf {
    use std::os::linux::net::SocketAddrExt;
    let abstract_path = |name: &[u8]| PathBuf::from(format!("@{}", String::from_utf8_lossy(name)));
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.to_owned(),
        (None, Some(name)) => abstract_path(name),
        (None, None) => PathBuf::new(),
    }
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
        let bound = bind(&path, Type::DGRAM, &access("755")).unwrap();
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
        let first = bind(&path, Type::DGRAM, &access("755")).unwrap();
        assert!(matches!(bind(&path, Type::DGRAM, &access("755")), Err(UnixError::Live(_))));
        drop(first);
        assert!(bind(&path, Type::DGRAM, &access("755")).is_ok());
    }

    #[test]
    fn a_file_that_another_process_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let bound = bind(&path, Type::DGRAM, &access("755")).unwrap();
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
            let bound = bind(&path, Type::DGRAM, &access(mode)).unwrap();
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert!(expected.is_none_or(|expected| found == expected), "{mode}: {found:o}");
            drop(bound);
        }
    }

    #[test]
    fn an_abstract_socket_has_no_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("tallyd-test-{}", std::process::id());
        let bound = bind(Path::new(&format!("@{name}")), Type::DGRAM, &access("755")).unwrap();
        assert!(bound.file.is_none());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(b"a:1|c", &address).unwrap();
        assert!(matches!(
            bind(Path::new(&format!("@{name}")), Type::DGRAM, &access("")),
            Err(UnixError::Bind { .. })
        ));
    }

    #[test]
    fn after_the_end_senders_learn_that_nobody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let bound = bind(&path, Type::DGRAM, &access("755")).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        client.send(b"before").unwrap();
        bound.socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.send(b"after").unwrap_err().raw_os_error(), Some(libc::EPIPE));
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16];
        assert_eq!(bound.socket.recv(&mut buffer).unwrap(), 6);
    }

    #[test]
    fn a_socket_has_the_owner_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("statsd.sock");
        let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
        let name = User::from_uid(user).unwrap().unwrap().name;
        let ours = Access { owner: name, group: group.to_string(), ..access("660") };
        let bound = bind(&path, Type::STREAM, &ours).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o777),
            (user.into(), group.into(), 0o660)
        );
        drop(bound);
        let nobody = Access { owner: "no-such-user".to_owned(), ..access("660") };
        let error = bind(&path, Type::STREAM, &nobody).unwrap_err().to_string();
        assert!(error.starts_with("`--statsd.unixsocket-owner`: there is no user"), "{error}");
        assert!(!path.exists());
    }

    fn access(mode: &str) -> Access {
        let (owner, group) = (String::new(), String::new());
        Access { flags: "--statsd", mode: mode.to_owned(), owner, group }
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        match bind(path, Type::DGRAM, &access("755")) {
            Ok(_) => panic!("{} was bound", path.display()),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[track_caller]
    fn check_mode(text: &str, expected: Option<u32>) {
        assert_eq!(parse_mode(text), expected, "{text}");
    }
}
