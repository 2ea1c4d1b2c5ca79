//! Tests of mappings: what is read of `/proc/PID/maps`, and which files a pod can make the agent open.

use proptest::prelude::*;

use super::*;

fn root_of(pid: u32) -> OwnedFd {
    open_root(&ProcessFolder::of_process(pid)).unwrap()
}

const MAPS: &[u8] = b"\
5500000000-5500001000 r--p 00000000 fe:01 1201                           /usr/bin/my app
5500001000-5500003000 r-xp 00001000 fe:01 1201                           /usr/bin/my app
7f0000000000-7f0000001000 r-xp 00026000 00:2f 77                         /lib/libc.so.6 (deleted)
7f1000000000-7f1000001000 rwxp 00000000 00:00 0
7f2000000000-7f2000001000 r-xp 00000000 fe:01 1300                       /opt/\xff\xfe.so
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
not a line
7fff00000000-7fff00001000 r-xp 00000000 fe:01 1301                       /opt/cut";

#[test]
fn only_executable_mappings_are_read_and_paths_may_have_spaces() {
    let (mappings, dropped) = parse(MAPS).unwrap();
    assert_eq!(dropped, 0);
    let names: Vec<String> = mappings.iter().map(CodeMapping::file_name).collect();
    assert_eq!(names, ["my app", "libc.so.6", "[anon]", "\u{fffd}\u{fffd}.so", "[vdso]"]);
    assert_eq!(mappings[0].file, FileKey::Inode { device: (0xfe, 1), inode: 1201 });
    assert_eq!((mappings[0].start, mappings[0].end, mappings[0].offset), (0x5500001000, 0x5500003000, 0x1000));
}

#[test]
fn name_of_control_characters_is_sanitized() {
    let line = [b"1000-2000 r-xp 0 0:1 7 /tmp/".as_slice(), &[1; 4000], b"\n"].concat();
    let name = parse(&*line).unwrap().0[0].file_name();
    assert!(name.starts_with(&"?".repeat(100)) && name.chars().count() == 128, "{name}");
}

#[test]
fn own_code_can_be_opened() {
    let me = std::process::id();
    let mappings = code_mappings(me).unwrap().mappings;
    let binary = mappings.iter().find(|mapping| matches!(mapping.file, FileKey::Inode { .. })).unwrap();
    open_below(root_of(me), binary).unwrap();
}

#[test]
fn link_out_of_the_root_stays_inside_it() {
    let root = std::env::temp_dir().join(format!("code-root-{}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("app")).unwrap();
    let mapping = CodeMapping {
        start: 0,
        end: 1,
        offset: 0,
        file: FileKey::Inode { device: (0, 0), inode: 1 },
        path: "/app".into(),
    };
    let error =
        open_below(openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap(), &mapping).unwrap_err();
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn deleted_binary_is_opened_by_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gone");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
    let of_it = |mapping: &CodeMapping| mapping.path.as_bytes().windows(5).any(|part| part == b"/gone");
    let mapping = loop {
        if let Some(mapping) = code_mappings(child.id()).unwrap().mappings.into_iter().find(of_it) {
            break mapping;
        }
    };
    fs::remove_file(&program).unwrap();
    let (below, by_reference) = (
        open_below(root_of(child.id()), &mapping),
        open_mapped_file(&ProcessFolder::of_process(child.id()), root_of(child.id()), &mapping),
    );
    let mut other = mapping.clone();
    other.file = FileKey::Inode { device: (0, 0), inode: 1 };
    let another = open_mapped_file(&ProcessFolder::of_process(child.id()), root_of(child.id()), &other);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(below.is_err() && by_reference.is_ok() && another.is_err());
}

#[test]
fn other_file_at_the_same_path_is_not_opened() {
    let me = std::process::id();
    let mut mapping = code_mappings(me)
        .unwrap()
        .mappings
        .into_iter()
        .find(|mapping| matches!(mapping.file, FileKey::Inode { .. }))
        .unwrap();
    if let FileKey::Inode { inode, .. } = &mut mapping.file {
        *inode += 1;
    }
    assert!(open_below(root_of(me), &mapping).is_err());
}

#[test]
fn device_in_place_of_the_file_is_not_opened() {
    let mapping = CodeMapping {
        start: 0,
        end: 1,
        offset: 0,
        file: FileKey::Inode { device: (0, 0), inode: 1 },
        path: "/dev/null".into(),
    };
    assert_eq!(open_below(root_of(std::process::id()), &mapping).unwrap_err().to_string(), "not a regular file");
}

#[test]
fn pipe_in_place_of_the_file_is_not_even_opened() {
    let path = std::env::temp_dir().join(format!("code-pipe-{}", std::process::id()));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mapping = CodeMapping {
        start: 0,
        end: 1,
        offset: 0,
        file: FileKey::Inode { device: (0, 0), inode: 1 },
        path: path.clone().into(),
    };
    // Opening blocks until the other end is opened.
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::OpenOptions::new().write(true).open(path)
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    let refused = open_below(root_of(std::process::id()), &mapping).unwrap_err();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let still_waits = !writer.is_finished();
    let _reader = File::open(&path).unwrap();
    writer.join().unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(refused.to_string(), "not a regular file");
    assert!(still_waits);
}

#[test]
fn reused_pid_is_noticed() {
    assert!(!process_started_at(std::process::id(), 1));
}

/// Lines of mappings of one page, `gap` pages apart.
fn lines(count: u64, gap: u64, inode: impl Fn(u64) -> u64) -> Vec<u8> {
    let line = |at: u64| {
        let (start, inode) = (0x1000 * (1 + gap) * (at + 1), inode(at));
        let path = if inode == 0 { String::new() } else { format!("/lib/{inode}.so") };
        format!("{start:x}-{:x} r-xp {:x} fe:01 {inode} {path}\n", start + 0x1000, at * 0x1000)
    };
    (0..count).flat_map(|at| line(at).into_bytes()).collect()
}

#[test]
fn mappings_with_a_file_come_first_and_the_rest_is_counted() {
    // Every second one has no file, and those lie lowest.
    let maps = lines(5000, 1, |at| if at < 4000 { 0 } else { at });
    let (mappings, dropped) = parse(&*maps).unwrap();
    assert_eq!((mappings.len(), dropped), (MAPPINGS_MAX, 5000 - MAPPINGS_MAX as u32));
    let files = mappings.iter().filter(|mapping| matches!(mapping.file, FileKey::Inode { .. })).count();
    assert_eq!(files, 1000);
    assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
}

#[test]
fn neighbours_that_continue_each_other_are_one_mapping() {
    let (mappings, dropped) = parse(&*lines(5000, 0, |_| 7)).unwrap();
    assert_eq!((mappings.len(), dropped), (1, 0));
    assert_eq!((mappings[0].start, mappings[0].end, mappings[0].offset), (0x1000, 0x1000 * 5001, 0));
    assert_eq!(parse(&*lines(50, 0, |_| 0)).unwrap().0.len(), 1);
    assert_eq!(parse(&*lines(50, 1, |_| 7)).unwrap().0.len(), 50);
    let other_file = lines(2, 0, |at| at + 1);
    assert_eq!(parse(&*other_file).unwrap().0.len(), 2);
}

#[test]
fn maps_that_do_not_end_are_read_to_a_limit() {
    let line = b"1000-2000 r--p 0 fe:01 7 /lib/a.so\n";
    let endless = line.repeat(MAPS_MAX as usize / line.len() + 10);
    let (mappings, dropped) = parse(BufReader::new(endless.as_slice().take(MAPS_MAX))).unwrap();
    assert_eq!((mappings.len(), dropped), (0, 1));
}

#[test]
fn each_thread_shows_the_mappings_of_its_process() {
    let me = std::process::id();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv());
    let of_process = code_mappings(me).unwrap().mappings;
    let thread_folder = ProcessFolder::threads(me).next().unwrap();
    let of_thread = read_mappings(thread_folder.clone()).unwrap().mappings;
    assert_eq!(of_thread, of_process);
    let binary = of_thread.iter().find(|mapping| matches!(mapping.file, FileKey::Inode { .. })).unwrap();
    open_mapped_file(&thread_folder, open_root(&thread_folder).unwrap(), binary).unwrap();
    drop(stop);
    thread.join().unwrap().unwrap_err();
}

proptest! {
    #[test]
    fn any_bytes_are_mappings_in_their_order_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mappings, _) = parse(&*bytes).unwrap();
        prop_assert!(mappings.iter().all(|mapping| mapping.start < mapping.end));
    }

    #[test]
    fn wild_lines_do_not_overflow(start: u64, end: u64, offset: u64, inode: u64, path in "[ -~]{0,20}") {
        let line = format!("{start:x}-{end:x} r-xp {offset:x} fe:01 {inode} {path}\n");
        let (mappings, _) = parse(line.repeat(3).as_bytes()).unwrap();
        prop_assert_eq!(mappings.is_empty(), start >= end);
    }
}
