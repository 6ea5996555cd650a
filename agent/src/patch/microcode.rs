//! Whether newer microcode is installed than the processors have loaded.
//!
//! Microcode is loaded as the host starts. So an update that was installed since then takes a
//! restart; one that was there before and was not loaded takes something else, and is left alone.

use std::time::{Duration, UNIX_EPOCH};

use upkeep_model::{RestartReason, Virtualization};

use crate::host::{Host, Tree};

/// The packages of microcode by the processor's maker, and the folder of their files.
const MAKERS: [Maker; 2] = [
    Maker { vendor: "GenuineIntel", package: "intel-microcode", newest: intel },
    Maker { vendor: "AuthenticAMD", package: "amd64-microcode", newest: amd },
];

struct Maker {
    vendor: &'static str,
    package: &'static str,
    newest: fn(&Host, &Processor) -> Option<u32>,
}

/// Compares what is installed with what is loaded; `None` where there is no reason for a restart,
/// or nothing that tells one.
pub(super) fn look(host: &Host) -> Option<RestartReason> {
    // A hypervisor loads it for its guests, and shows them what it likes.
    if host.virtualization() != Virtualization::None {
        return None;
    }
    let processor = Processor::parse(&host.read(Tree::Proc, "cpuinfo").ok()?)?;
    let maker = MAKERS.iter().find(|maker| maker.vendor == processor.vendor)?;
    if !was_installed_since_start(host, maker.package)? {
        return None;
    }
    let newest = (maker.newest)(host, &processor)?;
    (newest > processor.revision).then(|| RestartReason {
        reason: format!("microcode {newest:#x} is installed, {:#x} is loaded", processor.revision),
        packages: vec![maker.package.to_owned()],
    })
}

/// Whether dpkg installed a package after the host was started; `None` if that is not known.
fn was_installed_since_start(host: &Host, package: &str) -> Option<bool> {
    let installed = host.modified(Tree::Root, &format!("var/lib/dpkg/info/{package}.list")).ok()?;
    let stat = host.read(Tree::Proc, "stat").ok()?;
    let started = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(installed > UNIX_EPOCH + Duration::from_secs(started.trim().parse().ok()?))
}

/// What the kernel says of the first processor.
#[derive(Debug, Default, PartialEq, Eq)]
struct Processor {
    vendor: String,
    family: u32,
    model: u32,
    stepping: u32,
    /// The microcode that is loaded.
    revision: u32,
}

impl Processor {
    fn parse(text: &str) -> Option<Self> {
        let first = text.split("\n\n").next()?;
        let field = |key: &str| {
            first.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.trim() == key).then(|| value.trim())
            })
        };
        let number = |key: &str| field(key)?.parse().ok();
        let revision = field("microcode")?.strip_prefix("0x")?;
        Some(Self {
            vendor: field("vendor_id")?.to_owned(),
            family: number("cpu family")?,
            model: number("model")?,
            stepping: number("stepping")?,
            revision: u32::from_str_radix(revision, 16).ok()?,
        })
    }

    /// The processor's number as the instruction CPUID gives it.
    fn signature(&self) -> u32 {
        let (base, extended) =
            if self.family > 15 { (15, self.family - 15) } else { (self.family, 0) };
        self.stepping
            | ((self.model & 15) << 4)
            | (base << 8)
            | ((self.model >> 4) << 16)
            | (extended << 20)
    }
}

fn intel(host: &Host, processor: &Processor) -> Option<u32> {
    let Processor { family, model, stepping, .. } = processor;
    let file = format!("lib/firmware/intel-ucode/{family:02x}-{model:02x}-{stepping:02x}");
    let flags = host.read(Tree::Sys, "devices/system/cpu/cpu0/microcode/processor_flags").ok();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    intel_newest(&host.read_bytes(Tree::Root, &file).ok()?, processor.signature(), flags)
}

/// The length of the head of Intel's updates in bytes.
const INTEL_HEAD: usize = 48;

/// The revision for a processor in a file of Intel's updates, one after another. Each has a head of
/// little-endian words: the second is the revision, the fourth the processor, the seventh a mask of
/// platforms, the eighth and ninth are the lengths of the data and of it all. Where the platform is
/// not known, the oldest of what is in question counts.
fn intel_newest(file: &[u8], signature: u32, flags: Option<u32>) -> Option<u32> {
    let mut rest = file;
    let mut revisions = Vec::new();
    while rest.len() >= INTEL_HEAD {
        let word = |at: usize| word(rest, at * 4);
        let (data, total) = (word(7)?, word(8)?);
        let total = if data == 0 { 2048 } else { usize::try_from(total).ok()? };
        let is_of_platform =
            flags.is_none_or(|flags| word(6).is_some_and(|mask| mask & flags != 0));
        if word(3)? == signature && is_of_platform {
            revisions.push(word(1)?);
        }
        if total < INTEL_HEAD {
            break;
        }
        rest = rest.get(total..)?;
    }
    match flags {
        Some(_) => revisions.into_iter().max(),
        None => revisions.into_iter().min(),
    }
}

fn amd(host: &Host, processor: &Processor) -> Option<u32> {
    let family = processor.family;
    let file = match family {
        0x15.. => format!("lib/firmware/amd-ucode/microcode_amd_fam{family:02x}h.bin"),
        _ => "lib/firmware/amd-ucode/microcode_amd.bin".to_owned(),
    };
    amd_newest(&host.read_bytes(Tree::Root, &file).ok()?, processor.signature())
}

const AMD_MAGIC: u32 = 0x0041_4d44;
const AMD_TABLE: u32 = 0;
const AMD_PATCH: u32 = 1;

/// The revision for a processor in a file of AMD's patches. A container begins with a magic number
/// and a table that gives processors a shorter number; patches follow, each under its length. Their
/// second word is the revision, and at byte 24 stands the number of the processors they are for.
fn amd_newest(file: &[u8], signature: u32) -> Option<u32> {
    let mut rest = file;
    let mut number = None;
    let mut newest = None;
    while let Some(kind) = word(rest, 0) {
        if kind == AMD_MAGIC {
            rest = rest.get(4..)?;
            number = None;
            continue;
        }
        let length = usize::try_from(word(rest, 4)?).ok()?;
        let section = rest.get(8..8usize.checked_add(length)?)?;
        match kind {
            AMD_TABLE => number = equivalent(section, signature),
            AMD_PATCH if number.is_some() && half(section, 24) == number => {
                newest = newest.max(word(section, 4));
            }
            AMD_PATCH => {}
            _ => break,
        }
        rest = rest.get(8 + length..)?;
    }
    newest
}

/// The shorter number of a processor in AMD's table, whose lines have 16 bytes.
fn equivalent(table: &[u8], signature: u32) -> Option<u16> {
    let line = table.chunks_exact(16).find(|line| word(line, 0) == Some(signature))?;
    half(line, 12)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n\
        model\t\t: 142\nmodel name\t: x\nstepping\t: 12\nmicrocode\t: 0xf4\nflags\t\t: fpu vme\n\n\
        processor\t: 1\n";

    fn update(revision: u32, signature: u32, platforms: u32) -> Vec<u8> {
        let words = [1, revision, 0, signature, 0, 1, platforms, 16, 64, 0, 0, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        bytes.resize(64, 0);
        bytes
    }

    #[test]
    fn the_processor_is_read() {
        let processor = Processor::parse(CPUINFO).unwrap();
        assert_eq!((processor.revision, processor.signature()), (0xf4, 0x806ec));
        let zen = Processor { family: 25, model: 33, stepping: 2, ..Processor::default() };
        assert_eq!(zen.signature(), 0xa2_0f12);
        assert_eq!(Processor::parse("processor\t: 0\nBogoMIPS\t: 108.00\n"), None);
    }

    #[test]
    fn the_revision_for_a_processor_is_found() {
        let intel = |file: &[u8], flags, expect| {
            assert_eq!(intel_newest(file, 0x806ec, flags), expect);
        };
        let file = [update(0xf6, 0x806ec, 0x94), update(0xf9, 0x806ec, 2), update(0xff, 1, 0x94)];
        let file = file.concat();
        intel(&file, Some(0x80), Some(0xf6));
        intel(&file, Some(2), Some(0xf9));
        intel(&file, None, Some(0xf6));
        intel(&file, Some(1), None);
        intel(&file[..100], None, Some(0xf6));
        intel(&[0xff; 200], None, None);
        intel(&[], None, None);

        let section = |kind: u32, bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).unwrap();
            [&kind.to_le_bytes(), &length.to_le_bytes(), bytes].concat()
        };
        let line = |signature: u32, number: u16| {
            [&signature.to_le_bytes()[..], &[0; 8], &number.to_le_bytes(), &[0; 2]].concat()
        };
        let patch = |revision: u32, number: u16| {
            let body = [&[0; 4][..], &revision.to_le_bytes(), &[0; 16], &number.to_le_bytes()];
            section(1, &[&body.concat()[..], &[0; 100]].concat())
        };
        let table = section(0, &[line(0xa20f12, 0xa212), line(0xa20f10, 0xa210)].concat());
        let container = [
            AMD_MAGIC.to_le_bytes().to_vec(),
            table,
            patch(0x0a20_1205, 0xa212),
            patch(0x0a20_1210, 0xa212),
            patch(0x0a20_ffff, 0xa210),
        ];
        let file = container.concat();
        let amd = |file: &[u8], signature, expect| assert_eq!(amd_newest(file, signature), expect);
        amd(&file, 0xa20f12, Some(0x0a20_1210));
        amd(&[file.clone(), file.clone()].concat(), 0xa20f10, Some(0x0a20_ffff));
        amd(&file, 0x999, None);
        amd(&file[..30], 0xa20f12, None);
        amd(&[0xff; 64], 0xa20f12, None);
    }

    #[test]
    fn only_what_came_after_the_start_is_a_reason() {
        let check = |started: u64, cpuinfo: &str, expect: bool| {
            let folder = tempfile::tempdir().unwrap();
            let write = |path: &str, content: &[u8]| {
                let path = folder.path().join("root").join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            };
            write("proc/cpuinfo", cpuinfo.as_bytes());
            write("proc/stat", format!("cpu 0\nbtime {started}\n").as_bytes());
            write("var/lib/dpkg/info/intel-microcode.list", b"");
            write("lib/firmware/intel-ucode/06-8e-0c", &update(0xf6, 0x806ec, 0x80));
            let seen = look(&Host::replay(folder.path()).unwrap());
            let expect = expect.then(|| RestartReason {
                reason: "microcode 0xf6 is installed, 0xf4 is loaded".to_owned(),
                packages: vec!["intel-microcode".to_owned()],
            });
            assert_eq!(seen, expect);
        };
        check(1_000_000, CPUINFO, true);
        check(99_000_000_000, CPUINFO, false);
        check(1_000_000, &CPUINFO.replace("0xf4", "0xf6"), false);
        check(1_000_000, &CPUINFO.replace("fpu", "fpu hypervisor"), false);
    }
}
