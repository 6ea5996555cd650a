//! The mount table: `/proc/1/mountinfo`.

use super::Faults;
use crate::host::{Host, HostError, Text, Tree};

/// The table of the first process is that of the host; where it is not ours to see, our own is the
/// next best.
const FILES: [&str; 2] = ["1/mountinfo", "self/mountinfo"];

/// Options of a file system that refuses writes. The second one is of an ext4 that met an error:
/// since Linux 6.12 it does so without the first.
const READ_ONLY: [&str; 2] = ["ro", "emergency_ro"];

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mount {
    /// What is mounted.
    pub(super) device: String,
    /// Where it is mounted, as the host sees it.
    pub(super) mount_point: String,
    /// The kind of file system.
    pub(super) kind: String,
    /// The device's numbers.
    pub(super) major: String,
    /// The device's numbers.
    pub(super) minor: String,
    /// Whether the file system refuses writes, wherever it is mounted. The options of the mount
    /// itself tell less: in a sandbox every mount is read-only.
    pub(super) read_only: bool,
}

/// Reads the mount table.
pub(super) fn read(host: &Host, faults: &mut Faults) -> Result<Vec<Mount>, HostError> {
    let (file, text) = table(host)?;
    let mut mounts = parse(file, &text, faults);
    for mount in &mut mounts {
        let inside = host.inside(&mount.mount_point);
        if inside.len() != mount.mount_point.len() {
            mount.mount_point = inside.to_owned();
        }
    }
    Ok(mounts)
}

fn table(host: &Host) -> Result<(&'static str, Text), HostError> {
    let [first, second] = FILES;
    match host.read(Tree::Proc, first) {
        Ok(text) => Ok((first, text)),
        Err(_) => Ok((second, host.read(Tree::Proc, second)?)),
    }
}

/// Reads lines such as `29 1 259:2 / /home rw,relatime shared:1 - ext4 /dev/sda1 rw`. Between the
/// mount's options and the dash there may be any number of words.
fn parse(file: &str, text: &str, faults: &mut Faults) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match parse_line(line) {
            Some(mount) => mounts.push(mount),
            None => faults.value(file, at + 1, "mount", "incomplete"),
        }
    }
    mounts
}

fn parse_line(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let (major, minor) = words.nth(2)?.split_once(':')?;
    let mount_point = words.nth(1)?;
    words.find(|word| *word == "-")?;
    let (kind, device) = (words.next()?, words.next()?);
    let read_only = words.next()?.split(',').any(|option| READ_ONLY.contains(&option));
    Some(Mount {
        device: unescape(device),
        mount_point: unescape(mount_point),
        kind: unescape(kind),
        major: major.to_owned(),
        minor: minor.to_owned(),
        read_only,
    })
}

/// Turns `\040` and its like, three octal digits, back into the characters they stand for.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| octal(after)).flatten();
        bytes.push(escaped.unwrap_or(byte));
        rest = match escaped {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(bytes: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let check = |line: &str, expect: Option<(&str, &str, &str, bool)>| {
            let mount = parse_line(line);
            let seen = mount.as_ref().map(|mount| {
                let Mount { device, mount_point, kind, read_only, .. } = mount;
                (device.as_str(), mount_point.as_str(), kind.as_str(), *read_only)
            });
            assert_eq!(seen, expect, "{line}");
        };
        check(
            "29 1 259:2 / / rw,relatime shared:1 master:2 - ext4 /dev/dm-2 errors=remount-ro,rw",
            Some(("/dev/dm-2", "/", "ext4", false)),
        );
        check(
            "29 1 259:2 / /a\\040b\\134 ro,relatime - nfs4 host:/x rw,vers=4.2",
            Some(("host:/x", "/a b\\", "nfs4", false)),
        );
        check(
            "1 1 0:5 / /m rw - ext4 /dev/sda1 ro,data=ordered",
            Some(("/dev/sda1", "/m", "ext4", true)),
        );
        check(
            "1 1 0:5 / /m rw - ext4 /dev/sda1 rw,errors=remount-ro,emergency_ro",
            Some(("/dev/sda1", "/m", "ext4", true)),
        );
        check("29 1 259:2 / / rw,relatime ext4 /dev/dm-2", None);
        check("", None);
    }

    #[test]
    fn a_line_that_is_none_is_told() {
        let mut faults = Faults::default();
        assert_eq!(parse("1/mountinfo", "x\n", &mut faults), []);
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "1/mountinfo, line 1, mount: incomplete");
    }

    #[test]
    fn only_octal_escapes_are_undone() {
        let check = |text: &str, expect: &str| assert_eq!(unescape(text), expect);
        check("a\\011b", "a\tb");
        check("\\04", "\\04");
        check("\\888", "\\888");
        check("é\\303\\251", "éé");
    }
}
