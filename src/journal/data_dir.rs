//! The data directory: locked by one process, so that two gateways never ship the same journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::SegmentId;
use crate::domain::UnixMicros;

/// A directory that belongs to this process until the last clone is dropped or the process dies, however it dies.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Arc<File>,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "data directory {path} is in use by another bedgate process (pid {holder}): give each its own --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// It cannot be made, or written to.
    #[error("data directory {path} cannot be used{advice}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What to do about it, where that is known.
        advice: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// What helps where the system says no: mostly the directory belongs to another user, such as root in a volume.
fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            format!(
                " (it must belong to the user that bedgate runs as, uid {user}: chown it, or name another by --data-dir)"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => " (name one that can be written by --data-dir)".to_owned(),
        _ => String::new(),
    }
}

/// Files made so are nobody else's to read: the journal tells who called what.
pub(super) fn for_the_owner_alone(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes a directory, and what is missing above it, for the owner alone; one that was made before bedgate did so, too.
fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        builder.mode(0o700).create(path)?;
        if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            let _of_another_owner = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
        }
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(path)
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process has it, [`DataDirError::Unusable`] when it cannot be written.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source: io::Error| DataDirError::Unusable {
            path: path.to_owned(),
            advice: advice(&source),
            source,
        };
        make_private_dir(&path.join("journal")).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = for_the_owner_alone(&mut options).open(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unreadable = (&lock).take(32).read_to_string(&mut holder);
                return Err(DataDirError::InUse { path: path.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the segments are.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The segments on disk, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<SegmentId>> {
        let mut segments = Vec::new();
        for file in std::fs::read_dir(self.journal_dir())? {
            segments.extend(file?.file_name().to_str().and_then(SegmentId::from_file_name));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Bytes of all segments, and of what was kept beside them for the operator.
    pub(super) fn journal_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for file in std::fs::read_dir(self.journal_dir())? {
            let file = file?;
            let is_ballast = file.file_name() == "ballast";
            bytes += if is_ballast { 0 } else { file.metadata()?.len() };
        }
        Ok(bytes)
    }

    /// A number for this process' run that is larger than those of all segments on disk, also when the clock was
    /// set back.
    pub(super) fn next_run(&self) -> io::Result<u64> {
        let now = u64::try_from(UnixMicros::now().0).unwrap_or_default();
        let last = self.segments()?.last().map_or(0, |segment| segment.writer.run);
        Ok(now.max(last.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_directory_from_being_used_is_told_once_and_with_what_helps() {
        let unusable = |kind: io::ErrorKind, reason: &str| {
            let source = io::Error::new(kind, reason.to_owned());
            let error = DataDirError::Unusable { path: "d".into(), advice: advice(&source), source };
            format!("{:#}", anyhow::Error::new(error))
        };
        let user = rustix::process::geteuid().as_raw();
        let denied = unusable(io::ErrorKind::PermissionDenied, "no way");
        assert!(denied.contains(&format!("uid {user}")) && denied.contains("chown"), "{denied}");
        assert_eq!(denied.matches("no way").count(), 1, "{denied}");
        assert!(unusable(io::ErrorKind::ReadOnlyFilesystem, "no").contains("--data-dir"));
        assert_eq!(
            unusable(io::ErrorKind::NotADirectory, "a file"),
            "data directory d cannot be used: a file"
        );
    }
}
