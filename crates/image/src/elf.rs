//! Executables: a section that says what they were built from, and what they need to run.
//!
//! The section is appended to the finished file: neither the program nor its build has to know of it, so an edit of a comment
//! relinks nothing. Nothing that is there moves; only the section table is written anew, at the end, and the header points to
//! it. A loader reads the program headers and never looks at sections (System V ABI, chapter 4 "Object Files"; field offsets
//! from its figures for ELF64). Written by hand because a crate for object files costs more to compile than these lines.

use std::io;

use anyhow::{Context, bail, ensure};

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// `PT_INTERP`: the program needs a dynamic linker.
const INTERPRETER: u32 = 3;
/// `SHT_PROGBITS`, `SHT_STRTAB`, `SHT_NOBITS`.
const PROGBITS: u32 = 1;
const STRING_TABLE: u32 = 3;
const NO_BITS: u32 = 8;
/// Numbers from here on are written elsewhere (`SHN_LORESERVE`); no program of ours has so many.
const MOST_SECTIONS: usize = 0xff00;
/// No table of names or section that is read here is near this; a damaged file must not fill the memory.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Reads exactly these bytes at an offset of the file.
pub(crate) type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

/// What is needed of an ELF file.
pub(crate) struct Elf {
    header: [u8; HEADER],
    sections: Vec<[u8; SECTION_HEADER]>,
    names: Vec<u8>,
    size: u64,
    /// Whether it needs a dynamic linker, and so more files than itself.
    pub(crate) dynamic: bool,
    /// The processor, as images name it (GOARCH).
    pub(crate) architecture: &'static str,
}

/// What turns a file into the same file with one section more.
pub(crate) struct Addition {
    /// Replaces the first bytes.
    pub(crate) header: [u8; HEADER],
    /// Follows the last bytes.
    pub(crate) tail: Vec<u8>,
}

impl Elf {
    /// Reads an ELF file of this many bytes.
    ///
    /// # Errors
    /// If it is not a little-endian 64-bit ELF file for a processor that is known here, or is damaged.
    pub(crate) fn parse(read: ReadAt<'_>, size: u64) -> anyhow::Result<Elf> {
        let mut header = [0; HEADER];
        let read_header = read(&mut header, 0);
        // EI_CLASS is ELFCLASS64, EI_DATA is ELFDATA2LSB.
        ensure!(
            read_header.is_ok() && header.starts_with(b"\x7fELF\x02\x01"),
            "it is not a 64-bit little-endian ELF file"
        );
        let architecture = match u16_at(&header, 18) {
            62 => "amd64",
            183 => "arm64",
            other => bail!("it is for a processor that is not supported (e_machine {other}): x86-64 and aarch64 are"),
        };
        let table = |at: usize, entries: usize, entry: usize| -> anyhow::Result<Vec<u8>> {
            let mut bytes = vec![0; entries * entry];
            read(&mut bytes, u64_at(&header, at))
                .context("its tables are not where its header says: the file is damaged")?;
            Ok(bytes)
        };
        let (programs, sections) = (u16_at(&header, 56) as usize, u16_at(&header, 60) as usize);
        ensure!(
            programs == 0 || u16_at(&header, 54) as usize == PROGRAM_HEADER,
            "its program headers have an unknown size"
        );
        ensure!(
            sections == 0 || u16_at(&header, 58) as usize == SECTION_HEADER,
            "its section headers have an unknown size"
        );
        ensure!(sections > 0 || u64_at(&header, 40) == 0, "it has more sections than are supported");
        let dynamic =
            table(32, programs, PROGRAM_HEADER)?.chunks(PROGRAM_HEADER).any(|entry| u32_at(entry, 0) == INTERPRETER);
        let sections: Vec<_> = table(40, sections, SECTION_HEADER)?.as_chunks().0.to_vec();
        let names = match sections.get(u16_at(&header, 62) as usize) {
            Some(names) if !sections.is_empty() => content(read, names)?,
            _ => Vec::new(),
        };
        Ok(Elf { header, sections, names, size, dynamic, architecture })
    }

    /// What adds a section with this name and content.
    ///
    /// # Errors
    /// If there is one already, or one too many.
    pub(crate) fn with_section(&self, name: &str, content: &[u8]) -> anyhow::Result<Addition> {
        ensure!(self.find(name).is_none(), "it has a section `{name}` already");
        ensure!(self.sections.len() + 3 < MOST_SECTIONS, "it has more sections than are supported");
        let (mut sections, mut names) = (self.sections.clone(), self.names.clone());
        if sections.is_empty() {
            sections.push([0; SECTION_HEADER]);
        }
        if names.is_empty() {
            names.push(0);
        }
        let mut tail = Vec::new();
        align(&mut tail, self.size);
        sections.push(section_header(names.len(), PROGBITS, self.size + tail.len() as u64, content.len()));
        tail.extend_from_slice(content);
        names.extend_from_slice(name.as_bytes());
        names.push(0);

        // The old table of names stays where it is; without a header it is only padding. Its header, which other headers do
        // not refer to, takes the new table.
        let old = u16_at(&self.header, 62) as usize;
        let at = self.size + tail.len() as u64;
        let index = if self.names.is_empty() {
            let own = names.len();
            names.extend_from_slice(b".shstrtab\0");
            sections.push(section_header(own, STRING_TABLE, at, names.len()));
            sections.len() - 1
        } else {
            put(&mut sections[old], 24, &at.to_le_bytes());
            put(&mut sections[old], 32, &(names.len() as u64).to_le_bytes());
            old
        };
        tail.extend_from_slice(&names);
        align(&mut tail, self.size);

        let mut header = self.header;
        put(&mut header, 40, &(self.size + tail.len() as u64).to_le_bytes());
        for (at, value) in [(58, SECTION_HEADER), (60, sections.len()), (62, index)] {
            put(
                &mut header,
                at,
                &u16::try_from(value).context("it has more sections than are supported")?.to_le_bytes(),
            );
        }
        tail.extend(sections.iter().flatten());
        Ok(Addition { header, tail })
    }

    fn find(&self, name: &str) -> Option<&[u8; SECTION_HEADER]> {
        self.sections.iter().find(|section| {
            let rest = self.names.get(u32_at(*section, 0) as usize..).unwrap_or_default();
            u32_at(*section, 4) != 0 && rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })
    }
}

/// The content of a section of an ELF file, if it has one of that name.
///
/// # Errors
/// As [`Elf::parse`].
pub(crate) fn section(read: ReadAt<'_>, size: u64, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    Elf::parse(read, size)?.find(name).map(|section| content(read, section)).transpose()
}

fn content(read: ReadAt<'_>, section: &[u8; SECTION_HEADER]) -> anyhow::Result<Vec<u8>> {
    let size = u64_at(section, 32);
    ensure!(size <= LARGEST && u32_at(section, 4) != NO_BITS, "a section has an impossible size: the file is damaged");
    let mut bytes = vec![0; usize::try_from(size)?];
    read(&mut bytes, u64_at(section, 24)).context("a section is not where its header says: the file is damaged")?;
    Ok(bytes)
}

fn section_header(name: usize, kind: u32, at: u64, size: usize) -> [u8; SECTION_HEADER] {
    let mut header = [0; SECTION_HEADER];
    put(&mut header, 0, &(name as u32).to_le_bytes());
    put(&mut header, 4, &kind.to_le_bytes());
    put(&mut header, 24, &at.to_le_bytes());
    put(&mut header, 32, &(size as u64).to_le_bytes());
    // sh_addralign.
    put(&mut header, 48, &1u64.to_le_bytes());
    header
}

/// Fills up so that what follows begins at a multiple of eight in the file.
fn align(tail: &mut Vec<u8>, before: u64) {
    let end = before + tail.len() as u64;
    tail.resize(tail.len() + (end.next_multiple_of(8) - end) as usize, 0);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
