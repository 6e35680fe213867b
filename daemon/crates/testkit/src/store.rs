//! What of a store on disk a rig may rely on: that it is there, and which parts its files belong to. It knows
//! nothing of what a store holds.

use std::path::{Path, PathBuf};

/// The parts of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorePart {
    Journal,
    Sealed,
    View,
    Witness,
}

impl StorePart {
    pub const ALL: [StorePart; 4] =
        [StorePart::Journal, StorePart::Sealed, StorePart::View, StorePart::Witness];

    /// Returns the files of this part of the store in `dir`, in the order of their names.
    ///
    /// # Errors
    /// When a directory can't be read.
    pub fn files(self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        match self {
            StorePart::Journal => files.push(dir.join("journal")),
            StorePart::Witness => files.push(dir.join("witness")),
            StorePart::Sealed => {
                let all = list(dir)?.into_iter();
                files.extend(all.filter(|path| path.extension().is_some_and(|end| end == "seg")));
            }
            StorePart::View => files.extend(list(&dir.join("view"))?),
        }
        files.retain(|path| path.is_file());
        files.sort();
        Ok(files)
    }
}

fn list(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// True once a daemon has begun a store in `dir`, which is `log` in its state directory.
pub fn store_exists(dir: &Path) -> bool {
    dir.join("witness").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_alone_is_no_store() {
        assert!(!store_exists(Path::new("/nonexistent")));
        assert!(!store_exists(Path::new("/")));
    }

    #[test]
    fn a_store_has_its_parts() {
        let dir = std::env::temp_dir().join(format!("picket-store-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("view")).unwrap();
        for name in ["witness", "journal", "own-1.seg", "reported-1.seg", "view/db", "reserve"] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        let counts = StorePart::ALL.map(|part| part.files(&dir).unwrap().len());
        assert!(store_exists(&dir));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(counts, [1, 2, 1, 1]);
    }
}
