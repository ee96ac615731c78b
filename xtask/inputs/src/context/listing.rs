//! What a directory lists.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;

/// How many bytes of a directory's listing are read at once: as the C library does.
const LISTED_AT_ONCE: usize = 32 * 1024;

/// What a directory lists, sorted by name.
pub(super) struct Listing {
    /// All the names, one after the other: a million files are a million
    /// allocations otherwise.
    pub(super) text: Vec<u8>,
    /// Where in `text` each of them is, and the kind of what bears it.
    pub(super) names: Vec<(Range<usize>, FileType)>,
}

impl Listing {
    /// Reads the names in an open directory to the end.
    pub(super) fn read(handle: &OwnedFd) -> Result<Self, Errno> {
        let mut listing = Self {
            text: Vec::new(),
            names: Vec::new(),
        };
        let mut buffer = Vec::with_capacity(LISTED_AT_ONCE);
        let mut entries = RawDir::new(handle, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(handle, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            let start = listing.text.len();
            listing.text.extend_from_slice(name);
            listing.names.push((start..listing.text.len(), kind));
        }
        let text = &listing.text;
        let name = |place: &Range<usize>| &text[place.clone()];
        listing
            .names
            .sort_unstable_by(|(a, _), (b, _)| name(a).cmp(name(b)));
        Ok(listing)
    }

    /// Whether something of this name is in it.
    pub(super) fn holds(&self, wanted: &[u8]) -> bool {
        let name = |place: &Range<usize>| &self.text[place.clone()];
        self.names
            .binary_search_by(|(place, _)| name(place).cmp(wanted))
            .is_ok()
    }
}
