//! The file of `--state.file`: whose it is, how it is replaced, and what happens to a useless one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::clock::unix_millis;

/// Why a state file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another process keeps its state there.
    #[error("{} is in use by another process; give each its own --state.file", .0.display())]
    InUse(PathBuf),
    /// The directory is not there or not ours.
    #[error("cannot keep the state in {}: its directory must exist and be writable", path.display())]
    Lock {
        /// The state file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A useless file is in the way.
    #[error("cannot set {} aside, which is of no use", path.display())]
    SetAside {
        /// The state file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A state file that no other process uses as long as this lives.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Locked; a file of its own, since the state's is replaced by each save.
    _lock: File,
}

impl StateFile {
    /// Claims the file, which need not be there.
    ///
    /// # Errors
    /// [`FileError::InUse`] or [`FileError::Lock`].
    pub fn claim(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Lock { path: path.to_owned(), source };
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside(path, ".lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FileError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the saved state, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves a file that is of no use out of the way, and says where to.
    ///
    /// # Errors
    /// [`FileError::SetAside`].
    pub fn set_aside(&self) -> Result<PathBuf, FileError> {
        let target = beside(&self.path, &format!(".damaged-{}", unix_millis()));
        fs::rename(&self.path, &target)
            .map_err(|source| FileError::SetAside { path: self.path.clone(), source })?;
        Ok(target)
    }

    /// Replaces the saved state by what `write` writes; returns what it returns. Whatever happens
    /// meanwhile, the file is the old one or the new one, and whole.
    ///
    /// # Errors
    /// What the system says; the old one is still there then.
    pub fn save<T>(&self, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let new = beside(&self.path, ".new");
        let saved = Self::write_to(&new, write).and_then(|result| {
            fs::rename(&new, &self.path)?;
            Ok(result)
        });
        if saved.is_err() {
            // The room is needed, and half a state is of no use. It may not even be there.
            fs::remove_file(&new).unwrap_or_default();
            return saved;
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        saved
    }

    fn write_to<T>(path: &Path, write: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let file = File::create(path)?;
        let result = write(&file)?;
        file.sync_all()?;
        Ok(result)
    }
}

/// The path with more at its end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let owner = StateFile::claim(&path).unwrap();
        let error = StateFile::claim(&path).unwrap_err().to_string();
        assert!(error.contains("is in use by another process"), "{error}");
        drop(owner);
        StateFile::claim(&path).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = StateFile::claim(&dir.path().join("no/state")).unwrap_err().to_string();
        assert!(error.contains("its directory must exist"), "{error}");
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::claim(&dir.path().join("state")).unwrap();
        assert!(file.open().unwrap().is_none());
        file.save(|mut file| file.write_all(b"old")).unwrap();
        let failed: io::Result<()> = file.save(|mut file| {
            file.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(file.path()).unwrap(), b"old");
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "the state and its lock");
    }

    #[test]
    fn what_is_set_aside_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::claim(&dir.path().join("state")).unwrap();
        fs::write(file.path(), b"x").unwrap();
        let aside = file.set_aside().unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"x");
        assert!(file.open().unwrap().is_none());
        assert!(file.set_aside().is_err(), "there is nothing to set aside");
    }
}
