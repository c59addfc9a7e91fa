//! The file that `--report` writes.
//!
//! The page is written into the file that the path refers to, following links as a shell's
//! redirection does. An existing file keeps its mode, its owner, and its other names. The file is
//! opened before the runs and changed after them: an unwritable path is reported at once, and a
//! failed run changes nothing.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The reason why a page cannot be written.
#[derive(Debug, Error)]
pub enum ReportFileError {
    /// The path refers to something other than a file: a folder, a device, a pipe, or a socket.
    #[error("{}: not a regular file (use `-` for standard output)", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The path refers to the trace.
    #[error("{}: this is the trace, which the page would overwrite", path.display())]
    IsTheTrace {
        /// The path.
        path: PathBuf,
    },
    /// The path refers to the file that standard output is redirected to.
    #[error("{}: standard output is redirected to this file (use `-` to write only the page there)", path.display())]
    IsStandardOutput {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be opened for writing.
    #[error("{}: cannot be opened for writing", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Writing failed after the file was opened. Previous content is lost, and the page is
    /// incomplete.
    #[error("{}: writing failed, and the file is incomplete", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A file opened for the page.
///
/// If it is dropped before the page is written, a file that did not exist before is removed.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    file: File,
    /// The canonical path of the file, if opening it created it.
    created: Option<PathBuf>,
}

impl ReportFile {
    /// Opens or creates the file without changing existing content.
    ///
    /// `trace` is a file that must not be overwritten.
    ///
    /// # Errors
    ///
    /// Returns an error if the path is the trace, is where standard output goes, or cannot be
    /// opened as a regular file.
    pub fn open(path: &Path, trace: Option<&Path>) -> Result<Self, ReportFileError> {
        let path = path.to_owned();
        let there = match fs::metadata(&path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(ReportFileError::Open { path, source }),
        };
        if let Some(there) = &there {
            // Checked before opening, because opening a pipe waits for a reader.
            if !there.is_file() {
                return Err(ReportFileError::NotAFile { path });
            }
            if trace.is_some_and(|trace| is_same_file(&path, there, trace)) {
                return Err(ReportFileError::IsTheTrace { path });
            }
            if is_standard_output(there) {
                return Err(ReportFileError::IsStandardOutput { path });
            }
        }
        // Truncated only once the page is ready.
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) => return Err(ReportFileError::Open { path, source }),
        };
        let created = match there {
            Some(_) => None,
            None => fs::canonicalize(&path).ok(),
        };
        Ok(Self {
            path,
            file,
            created,
        })
    }

    /// Replaces the content of the file with the page.
    pub fn write(mut self, text: &str) -> Result<(), ReportFileError> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()));
        match written {
            Ok(()) => {
                self.created = None;
                Ok(())
            }
            Err(source) => Err(ReportFileError::Write {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if let Some(created) = &self.created {
            // A leftover empty file does no harm, and the first error is the one to report.
            let _ = fs::remove_file(created);
        }
    }
}

#[cfg(unix)]
fn is_same_file(_path: &Path, there: &Metadata, other: &Path) -> bool {
    fs::metadata(other).is_ok_and(|other| is_one_file(there, &other))
}

/// Cannot recognize hard links.
#[cfg(not(unix))]
fn is_same_file(path: &Path, _there: &Metadata, other: &Path) -> bool {
    matches!((fs::canonicalize(path), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(unix)]
fn is_standard_output(there: &Metadata) -> bool {
    use std::os::fd::AsFd;

    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let stdout = stdout.and_then(|stdout| stdout.metadata());
    stdout.is_ok_and(|stdout| is_one_file(there, &stdout))
}

#[cfg(not(unix))]
fn is_standard_output(_there: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn is_one_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    /// A folder that is removed when this is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("kvbm-replay-{}-{name}", process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn names(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(path: &Path, trace: Option<&Path>) -> ReportFileError {
        ReportFile::open(path, trace).unwrap_err()
    }

    #[test]
    fn replaces_what_is_there_and_leaves_nothing_else() {
        let folder = Folder::new("replaces");
        let path = folder.at("page.html");
        for text in ["a long one", "two"] {
            let file = ReportFile::open(&path, None).unwrap();
            file.write(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(folder.names(), 1);
    }

    #[test]
    fn a_run_that_fails_changes_nothing() {
        let folder = Folder::new("fails");
        let path = folder.at("page.html");
        drop(ReportFile::open(&path, None).unwrap());
        assert_eq!(folder.names(), 0);
        fs::write(&path, "earlier").unwrap();
        drop(ReportFile::open(&path, None).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        let folder = Folder::new("cannot");
        let file = folder.at("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            refusal(&folder.0, None),
            ReportFileError::NotAFile { .. }
        ));
        for path in [folder.at("no/page.html"), file.join("page.html")] {
            assert!(
                matches!(refusal(&path, None), ReportFileError::Open { .. }),
                "{path:?}"
            );
        }
        assert_eq!(folder.names(), 1);
    }

    /// No user can create a file there, not even the superuser.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written_is_found_out_at_once() {
        let refused = refusal(Path::new("/proc/page.html"), None);
        assert!(matches!(refused, ReportFileError::Open { .. }), "{refused}");
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
        use std::process::Command;

        use super::*;

        #[test]
        fn what_is_no_file_is_refused_and_stays() {
            let folder = Folder::new("no-file");
            let pipe = folder.at("pipe");
            assert!(
                Command::new("mkfifo")
                    .arg(&pipe)
                    .status()
                    .unwrap()
                    .success()
            );
            let link = folder.at("link");
            symlink("/dev/null", &link).unwrap();
            for path in [&pipe, &link, Path::new("/dev/null")] {
                assert!(
                    matches!(refusal(path, None), ReportFileError::NotAFile { .. }),
                    "{path:?}"
                );
            }
            assert!(!fs::metadata(&pipe).unwrap().is_file());
            assert!(!fs::metadata("/dev/null").unwrap().is_file());
        }

        #[test]
        fn the_page_goes_through_links_and_keeps_mode_and_names() {
            let folder = Folder::new("links");
            let (file, link, name) = (folder.at("file"), folder.at("link"), folder.at("name"));
            fs::write(&file, "earlier").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            symlink(&file, &link).unwrap();
            fs::hard_link(&file, &name).unwrap();
            let before = fs::metadata(&file).unwrap();
            for path in [&link, &name] {
                ReportFile::open(path, None).unwrap().write("page").unwrap();
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), "page");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            let after = fs::metadata(&file).unwrap();
            assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
            assert_eq!(after.nlink(), 2);
            assert_eq!(folder.names(), 3);
        }

        #[test]
        fn a_link_to_no_file_makes_one_where_it_points() {
            let folder = Folder::new("dangling");
            let (file, link) = (folder.at("file"), folder.at("link"));
            symlink(&file, &link).unwrap();
            drop(ReportFile::open(&link, None).unwrap());
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert!(!file.exists());
            ReportFile::open(&link, None)
                .unwrap()
                .write("page")
                .unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "page");
        }

        #[test]
        fn the_trace_is_refused_by_any_of_its_names() {
            let folder = Folder::new("trace");
            let (trace, link, name) = (folder.at("trace"), folder.at("link"), folder.at("name"));
            fs::write(&trace, "{}").unwrap();
            symlink(&trace, &link).unwrap();
            fs::hard_link(&trace, &name).unwrap();
            let around = folder.0.join(".").join("trace");
            for path in [&trace, &link, &name, &around] {
                assert!(
                    matches!(
                        refusal(path, Some(&trace)),
                        ReportFileError::IsTheTrace { .. }
                    ),
                    "{path:?}"
                );
                let other = refusal(&trace, Some(path));
                assert!(
                    matches!(other, ReportFileError::IsTheTrace { .. }),
                    "{path:?}"
                );
            }
            assert_eq!(fs::read_to_string(&trace).unwrap(), "{}");
            assert!(ReportFile::open(&folder.at("page"), Some(&trace)).is_ok());
        }
    }
}
