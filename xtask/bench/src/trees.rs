//! Folders of many files to measure on, made once and kept.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;

use host::disk;

/// Files of a tree that lie in one directory.
const PER_DIRECTORY: usize = 500;

/// What a tree consists of. No two files have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BenchTree {
    pub(crate) files: usize,
    /// The length of each file in bytes.
    pub(crate) size: usize,
}

impl BenchTree {
    /// Fills `folder` with directories of files, unless that was done before.
    /// A marker beside the folder says so, written at the end.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn make(self, folder: &Path) -> Result<()> {
        let marker = folder.with_extension("made");
        let text = format!("{} files of {} bytes\n", self.files, self.size);
        if fs_err::read_to_string(&marker).is_ok_and(|made| made == text) {
            return Ok(());
        }
        for path in [folder, &marker] {
            disk::remove(path)?;
        }
        let directories: Vec<usize> = (0..self.files).step_by(PER_DIRECTORY).collect();
        directories
            .into_par_iter()
            .map(|first| self.directory(folder, first))
            .collect::<Result<Vec<()>>>()?;
        fs_err::write(&marker, text)?;
        Ok(())
    }

    fn directory(self, folder: &Path, first: usize) -> Result<()> {
        let directory = folder.join(format!("{:04}", first / PER_DIRECTORY));
        fs_err::create_dir_all(&directory)?;
        let mut content = vec![0; self.size];
        for number in first..self.files.min(first + PER_DIRECTORY) {
            // Bytes that no compression shortens, the same in each run.
            blake3::Hasher::new()
                .update(&number.to_le_bytes())
                .finalize_xof()
                .fill(&mut content);
            File::create(directory.join(format!("{number:06}.bin")))?.write_all(&content)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_made_once_and_again_when_it_should_be_another() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tree");
        let tree = BenchTree { files: 501, size: 10 };
        tree.make(&folder).unwrap();
        let first = folder.join("0000/000000.bin");
        assert_eq!(fs_err::read(&first).unwrap().len(), 10);
        assert!(folder.join("0001/000500.bin").is_file());
        fs_err::write(&first, "mine").unwrap();
        tree.make(&folder).unwrap();
        assert_eq!(fs_err::read(&first).unwrap(), b"mine");
        BenchTree { files: 2, size: 3 }.make(&folder).unwrap();
        assert_eq!(fs_err::read(&first).unwrap().len(), 3);
        assert!(!folder.join("0001").exists());
    }
}
