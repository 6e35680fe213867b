//! What of a store on disk a rig may rely on: that it is there. It knows nothing of what a store holds.

use std::path::Path;

/// True once a daemon has begun a store in `dir`, which is `log` in its state directory.
pub fn store_exists(dir: &Path) -> bool {
    dir.join("db").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_alone_is_no_store() {
        assert!(!store_exists(Path::new("/nonexistent")));
        assert!(!store_exists(Path::new("/")));
    }
}
