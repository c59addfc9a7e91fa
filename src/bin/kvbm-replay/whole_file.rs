//! A file that is written as a whole or not at all.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process;

/// The place of a file that is going to be written.
pub struct WholeFile {
    path: PathBuf,
    /// Beside it, so that renaming does not copy.
    temporary: PathBuf,
}

impl WholeFile {
    /// Looks whether there can be such a file, and touches nothing.
    pub fn at(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
        if path.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !fs::metadata(folder)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}.tmp", process::id()));
        Ok(Self {
            path: path.to_owned(),
            temporary: folder.join(temporary),
        })
    }

    /// Writes the file, or replaces the one that is there.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let written =
            fs::write(&self.temporary, text).and_then(|()| fs::rename(&self.temporary, &self.path));
        if written.is_err() {
            // It may not even be there, and the first error is the one to tell.
            let _ = fs::remove_file(&self.temporary);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_is_there_and_leaves_nothing_else() {
        let folder = std::env::temp_dir().join(format!("kvbm-replay-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("page.html");
        for text in ["one", "two"] {
            WholeFile::at(&path).unwrap().write(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let kind = |path: &Path| WholeFile::at(path).err().unwrap().kind();
        assert_eq!(kind(&folder), ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.join("no/page.html")), ErrorKind::NotFound);
        assert_eq!(kind(&path.join("page.html")), ErrorKind::NotADirectory);
        fs::remove_dir_all(&folder).unwrap();
    }
}
