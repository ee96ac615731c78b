//! Small disks: volumes whose content a container beside them keeps, so that it
//! can be filled up, cut off from power, and looked at while nobody uses it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Scene;
use crate::fault::Untried;
use container::boot::MOUNT;
use container::finding::flaw;
use container::finding::settled;
use container::http::one_line;
use engine::container::{Container, Volume};

/// A script in the keeper.
const SCRIPT: Duration = Duration::from_secs(60);
/// To make a file system takes a second.
const MAKE: Duration = Duration::from_secs(30);
/// A file system that nobody has mounted any more goes at once, but for the
/// containers that are being started meanwhile: they see all mounts for a moment.
const GONE: Duration = Duration::from_secs(20);
/// Between two looks at either.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the keeper has its block device's file system.
const KEPT: &str = "/disk/mount";

/// Makes a journaling file system on a loop device, mounts it at [`KEPT`], says
/// which device it is, and stays. The device goes with the last that has it open,
/// whatever becomes of this run: it is detached while it is in use. What makes file
/// systems is the image's, or that of the engine's machine.
const MAKE_DISK: &str = "set -eu; PATH=$PATH:/usr/sbin:/sbin; mkfs=; \
     for root in / /host; do for dir in sbin usr/sbin; do \
     [ ! -x $root/$dir/mke2fs ] || { mkfs=/$dir/mke2fs; under=$root; }; done; done; \
     [ -n \"$mkfs\" ] || { echo \"no mke2fs on the engine's machine\" >&2; exit 1; }; \
     truncate -s 600M /disk/image; device=$(losetup --find --show /disk/image); \
     exec 9<$device; losetup --detach $device; \
     chroot $under $mkfs -q -F -t ext4 -b 4096 -m 0 $device; \
     mkdir /disk/mount; mount -t ext4 $device /disk/mount; chmod 1777 /disk/mount; \
     echo disk=$device; exec sleep infinity";

/// Writes a file that nobody syncs, then shuts the file system down by its own
/// ioctl (EXT4_IOC_SHUTDOWN, the same as xfs's): from then on nothing reaches the
/// disk.
const CUT: &str = "import fcntl, os, struct, sys\n\
     top = os.open(sys.argv[1], os.O_RDONLY)\n\
     with open(f'{sys.argv[1]}/lost+found/unsynced', 'wb') as file:\n\
     \x20   file.write(b'x' * 100000)\n\
     fcntl.ioctl(top, 0x8004587d, struct.pack('I', int(sys.argv[2])))\n";

/// What a cut takes away of what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it: the journal's last seconds too.
    All,
    /// The content of files, while the journal still reaches the disk: files have
    /// their names and nothing in them. A rename that was not preceded by a sync
    /// shows here.
    Contents,
}

impl Cut {
    /// Flag of the ioctl: EXT4_GOING_FLAGS_NOLOGFLUSH, EXT4_GOING_FLAGS_LOGFLUSH.
    fn flag(self) -> &'static str {
        match self {
            Cut::All => "2",
            Cut::Contents => "1",
        }
    }

    /// In the middle of a sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Cut::All => "all that was not synced is gone",
            Cut::Contents => "names reached the disk and contents did not",
        }
    }
}

/// A small disk. The scene removes it, as its volume and its containers.
#[derive(Debug)]
pub struct Disk {
    /// The volume that lies on it.
    pub volume: Rc<Volume>,
    keeper: Rc<Container>,
    /// `/dev/loop7`; none in memory.
    device: Option<String>,
}

impl Scene<'_> {
    /// A volume in memory, which is full when it is full: `options` as of
    /// mount(8), such as `size=100m`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn disk_in_memory(&self, options: &str) -> Result<Disk> {
        let o = format!("o={options},mode=1777");
        let volume = self.volume_of("tmpfs", "tmpfs", &["--opt", &o])?;
        let mount = format!("{}:{MOUNT}", volume.name());
        let options = ["--volume", &mount, "--workdir", MOUNT];
        // Its content lives as long as one container has it mounted.
        let keeper = self.keeper(&options, "exec sleep infinity")?;
        Ok(Disk {
            volume,
            keeper,
            device: None,
        })
    }

    /// A volume on a block device of its own, with a journal, that
    /// [`Disk::cut`] can be done to.
    ///
    /// # Errors
    /// [`Untried`] where the engine cannot give a container a block device.
    pub fn disk_with_power(&self) -> Result<Disk> {
        let options = [
            "--privileged",
            "--network=none",
            "--tmpfs=/disk",
            // A device that is made now shows at once.
            "--volume=/dev:/dev",
            // Without what is mounted below: other disks' file systems would stay in use.
            "--mount=type=bind,source=/,target=/host,readonly,bind-recursive=disabled",
            "--mount=type=bind,source=/dev,target=/host/dev",
        ];
        let keeper = settled(self.keeper(&options, MAKE_DISK))?.map_err(|why| not_here(&why))?;
        let began = Instant::now();
        let device = loop {
            let said = self.words_of(&keeper)?;
            if let Some(device) = said.lines().find_map(|line| line.strip_prefix("disk=")) {
                break device.to_owned();
            }
            if keeper.exit_code()?.is_some() || began.elapsed() > MAKE {
                bail!(not_here(&said));
            }
            self.lab.runner.sleep(PAUSE)?;
        };
        let volume = self.volume_of("ext4", &device, &[])?;
        let disk = Disk {
            volume,
            keeper,
            device: Some(device),
        };
        // The engine may have other devices than the container.
        let look = format!("ls -d {MOUNT}/lost+found");
        let seen = settled(self.must_beside(&disk.volume, &["--user", "0:0"], &look))?;
        seen.map_err(|why| not_here(&why))?;
        Ok(disk)
    }

    fn volume_of(&self, kind: &str, device: &str, more: &[&str]) -> Result<Rc<Volume>> {
        let (kind, device) = (format!("type={kind}"), format!("device={device}"));
        let mut options = vec!["--driver", "local", "--opt", &kind, "--opt", &device];
        options.extend(more);
        self.volume_with(&options)
    }

    fn keeper(&self, options: &[&str], script: &str) -> Result<Rc<Container>> {
        let mut all = vec!["--init", "--user=0:0", "--entrypoint=sh"];
        all.extend(options);
        let name = self.name("keeper");
        let keeper = self.lab.start(&name, self.image_id(), &all, &["-c", script])?;
        let keeper = Rc::new(keeper);
        self.keepers.borrow_mut().push(Rc::clone(&keeper));
        Ok(keeper)
    }
}

/// What the report says where an engine has no block devices to give.
fn not_here(why: &str) -> Untried {
    Untried(format!(
        "not possible here: this needs an engine that gives a privileged container loop devices, as one \
         that runs as root on Linux does: {}",
        one_line(why)
    ))
}

impl Disk {
    /// Who keeps it.
    pub fn keeper(&self) -> &Container {
        &self.keeper
    }

    /// Runs a script of `sh` as root in the volume's folder; what it printed.
    ///
    /// # Errors
    /// A flaw with what it said.
    pub fn run(&self, script: &str) -> Result<String> {
        let folder = self.device.as_ref().map_or(MOUNT, |_| KEPT);
        self.in_keeper(&["sh", "-c", "cd \"$0\" && eval \"$1\"", folder, script])
    }

    fn in_keeper(&self, command: &[&str]) -> Result<String> {
        let output = self.keeper.exec(SCRIPT, &[], command, None)?;
        if !output.success() {
            bail!(flaw(format!(
                "`{}`: {}",
                one_line(command.last().copied().unwrap_or_default()),
                one_line(&output.stderr_text())
            )));
        }
        Ok(output.stdout_text())
    }

    /// `--volume` of `docker run`.
    pub fn mount(&self) -> String {
        format!("--volume={}:{MOUNT}", self.volume.name())
    }

    /// The power goes: nothing reaches the disk any more, whoever writes. The
    /// containers on it have to be killed, then [`Disk::power_on`].
    ///
    /// # Errors
    /// When the ioctl fails.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        self.in_keeper(&["/usr/bin/python3", "-I", "-c", CUT, KEPT, cut.flag()])
            .map(drop)
    }

    /// The disk as it was when the power went, its journal replayed. No container
    /// may use it.
    ///
    /// # Errors
    /// A flaw when the old file system is still in use, or kept what was not
    /// synced: then nothing would be proved.
    pub fn power_on(&self) -> Result<()> {
        let Some(device) = &self.device else {
            bail!("a disk in memory has no power to come back");
        };
        let script = "PATH=$PATH:/usr/sbin:/sbin; umount $0; n=0; \
             while [ -e /sys/fs/ext4/${1#/dev/} ]; do n=$((n + 1)); \
             [ $n -lt $2 ] || { echo 'somebody still has the disk mounted' >&2; exit 1; }; sleep 0.1; done; \
             mount -t ext4 $1 $0 && [ ! -s $0/lost+found/unsynced ] || \
             { echo 'what was not synced survived the cut' >&2; exit 1; }; rm -f $0/lost+found/unsynced";
        let looks = (GONE.as_millis() / 100).to_string();
        self.in_keeper(&["sh", "-c", script, KEPT, device, &looks])
            .map(drop)
    }

    /// Removes all that is on it. No container may use it.
    ///
    /// # Errors
    /// A flaw with what it said.
    pub fn wipe(&self) -> Result<()> {
        self.run("find . -mindepth 1 -not -name lost+found -delete && sync -f .")
            .map(drop)
    }
}
