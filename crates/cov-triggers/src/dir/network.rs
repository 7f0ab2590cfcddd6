//! Tells file systems whose changes the kernel does not report, because they happen on another
//! machine or in another process. Reads the type of a file system, and nothing else.

use std::io;
use std::path::Path;

/// File systems on which inotify sees only what this machine itself does, by the number that
/// `statfs` gives them.
const BLIND: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB2"),
    (0xFF53_4D42, "CIFS"),
    (0x564C, "NCP"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x00C3_6400, "Ceph"),
    (0x4750_4653, "GPFS"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0xAAD7_AAEA, "PanFS"),
    (0x2003_0528, "OrangeFS"),
    (0x1983_0326, "BeeGFS"),
    (0xA501_FCF5, "VxFS"),
    (0x786F_4256, "VirtualBox shared folders"),
    (0xBACB_ACBC, "VMware shared folders"),
];

/// The name of the file system of that number, if inotify is blind on it.
#[must_use]
pub fn blind(number: u64) -> Option<&'static str> {
    BLIND.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The number of the file system that holds a path.
///
/// # Errors
/// The operating system does not say.
#[cfg(target_os = "linux")]
pub fn file_system(path: &Path) -> io::Result<u64> {
    let statfs = rustix::fs::statfs(path)?;
    #[expect(clippy::cast_sign_loss, reason = "32 bits of magic in a signed field")]
    let number = statfs.f_type as u64 & 0xFFFF_FFFF;
    Ok(number)
}

/// The number of the file system that holds a path: elsewhere than on Linux nothing is known.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn file_system(_path: &Path) -> io::Result<u64> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for (number, name) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0x0BD0_0BD0, "Lustre")] {
            assert_eq!(blind(number), Some(name));
        }
        // ext, XFS, Btrfs, tmpfs, overlay.
        for number in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630] {
            assert_eq!(blind(number), None, "{number:x}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_answers() {
        assert_eq!(file_system(Path::new("/proc")).unwrap(), 0x9FA0);
        assert!(file_system(Path::new("/proc/no such path")).is_err());
    }
}
