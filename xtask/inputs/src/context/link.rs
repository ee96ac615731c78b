//! Whether a link leads out of the context.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::readlinkat;

/// The kernel follows no more links on the way to one file (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Whether the target of the link at `path` lies outside of `root`: absolute,
/// or by way of `..`, other links on its way included. A target that is not
/// there, or a loop, stays inside: BuildKit copies such links too.
pub(super) fn leaves(root: &OwnedFd, path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut at: Vec<Vec<u8>> = parts(path);
    at.pop();
    let mut left: VecDeque<Vec<u8>> = parts(target).into();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == b".." {
            if at.pop().is_none() {
                return true;
            }
            continue;
        }
        at.push(part);
        let here = at.join(&b'/');
        // What is no link, or not there, is taken as it is written.
        let Ok(next) = readlinkat(root, OsStr::from_bytes(&here), Vec::new()) else {
            continue;
        };
        links += 1;
        if next.to_bytes().starts_with(b"/") {
            return true;
        }
        if links > MAX_LINKS {
            return false;
        }
        at.pop();
        for part in parts(next.to_bytes()).into_iter().rev() {
            left.push_front(part);
        }
    }
    false
}

fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}
