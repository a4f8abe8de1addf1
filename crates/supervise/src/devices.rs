//! The device files that programs expect in a root directory of their own.
//!
//! A static program whose C library cannot be asked for `getrandom` reads `/dev/urandom`; others write to `/dev/null`. Mounting
//! the machine's `/dev` was rejected: a mount outlives a killed process and must be found and undone.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Character devices, by name and minor number; their major number is 1 (Linux, Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32); 4] = [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)];
const MEMORY_DEVICES: u32 = 1;

/// Makes `dev/null`, `dev/zero`, `dev/random` and `dev/urandom` below a root directory, and sees that they can be used.
///
/// # Errors
/// Without root's capabilities, or on a file system that was mounted with `nodev`.
pub fn make_devices(root: &Path) -> io::Result<()> {
    let dir = root.join("dev");
    fs::create_dir_all(&dir)?;
    for (name, minor) in DEVICES {
        let path = dir.join(name);
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "std has no form of mknod")]
        // SAFETY: a plain system call on a string that ends in NUL and lives as long as the call.
        let made = unsafe { libc::mknod(c_path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(MEMORY_DEVICES, minor)) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        // The process's umask took bits away.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        File::open(&path)?;
    }
    Ok(())
}
