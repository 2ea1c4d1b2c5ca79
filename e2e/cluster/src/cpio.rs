//! Writes a cpio archive in the `newc` format, the only one that the kernel unpacks. Nothing is compressed here.

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that grows entry by entry; everything in it belongs to root and has no time.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// A directory; its parents must have been written before.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// A file with permission bits `mode`.
    pub fn file(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entry(name, FILE | mode, (0, 0), contents);
    }

    /// A symbolic link `name` that says `target`.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// A character device; init has no output without /dev/console, 5:1.
    pub fn character_device(&mut self, name: &str, device: (u32, u32)) {
        self.entry(name, CHARACTER_DEVICE | 0o600, device, &[]);
    }

    /// The whole archive, with the entry that ends it.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(contents.len()).expect("a file of an initramfs is below 4 GiB");
        let name_size = name.len() as u32 + 1;
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device and contents.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// Read back by the format's own rules.
    fn entries(archive: &[u8]) -> Vec<Entry> {
        let mut at = 0;
        let mut found = Vec::new();
        loop {
            assert_eq!(&archive[at..at + 6], b"070701", "a header at {at}");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[at + 6 + n * 8..at + 14 + n * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name = at + 110;
            let contents = (name + field(11) as usize).next_multiple_of(4);
            let end = contents + field(6) as usize;
            let name = std::str::from_utf8(&archive[name..name + field(11) as usize - 1]).unwrap().to_owned();
            if name == "TRAILER!!!" {
                assert_eq!(end, archive.len());
                return found;
            }
            found.push((name, field(1), (field(9), field(10)), archive[contents..end].to_vec()));
            at = end.next_multiple_of(4);
        }
    }

    #[test]
    fn what_was_written_is_read_back_whatever_its_length() {
        let mut cpio = Cpio::default();
        cpio.directory("dev");
        cpio.character_device("dev/console", (5, 1));
        cpio.symlink("sh", "bin/busybox");
        for length in 0..5 {
            cpio.file(&"n".repeat(length + 1), 0o755, &vec![b'x'; length]);
        }
        let read = entries(&cpio.finish());
        assert_eq!(read[0], ("dev".into(), 0o040_755, (0, 0), vec![]));
        assert_eq!(read[1], ("dev/console".into(), 0o020_600, (5, 1), vec![]));
        assert_eq!(read[2], ("sh".into(), 0o120_777, (0, 0), b"bin/busybox".to_vec()));
        for length in 0..5 {
            assert_eq!(read[3 + length], ("n".repeat(length + 1), 0o100_755, (0, 0), vec![b'x'; length]));
        }
    }
}
