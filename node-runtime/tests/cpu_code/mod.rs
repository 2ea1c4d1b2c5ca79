//! Code whose names are hard to find: threads without their first, libraries that change, code made at run time, stripped Go, the
//! vDSO; and stacks whose callers are missing or too many.

use std::{fs, path::PathBuf, process::Command};

use trilobite_node::layers::application::{Membership, ProfileMeta};

use crate::cpu_load::{ProfileFixture, samples_with, wait_until};

const FRAME_POINTERS: [&str; 2] = ["-O0", "-fno-omit-frame-pointer"];

/// Profiles a program until it has so many samples.
async fn profiled(
    mut fixture: ProfileFixture,
    program: &std::path::Path,
    samples: u64,
) -> (ProfileMeta, String, ProfileFixture) {
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(program, &mine, &[]);
    let session = fixture.profile("shop/code", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > samples).await;
    session.stop();
    session.wait_until_finished().await;
    let (meta, folded, _) = fixture.result("shop/code");
    (meta, folded, fixture)
}

#[tokio::test]
#[ignore = "needs root"]
async fn thread_group_without_its_first_thread_has_names() {
    const SOURCE: &str = "
#include <pthread.h>
volatile unsigned long sink;
__attribute__((noinline)) void dig(void) { for (int i = 0; i < 20000; i++) sink += i * sink; }
static void *work(void *none) { for (;;) dig(); return none; }
int main(void) { pthread_t thread; pthread_create(&thread, 0, work, 0); pthread_exit(0); }
";
    let fixture = ProfileFixture::new("leader");
    let program = fixture.compile("leaderless", SOURCE, &[&FRAME_POINTERS[..], &["-pthread"]].concat());
    let (meta, folded, _fixture) = profiled(fixture, &program, 100).await;
    assert!(samples_with(&folded, &["leaderless;leaderless;", "work;dig"]) * 10 > meta.counts.samples * 8);
    assert!(meta.counts.unmapped * 10 < meta.counts.samples);
}

#[tokio::test]
#[ignore = "needs root"]
async fn library_that_took_the_place_of_another_has_its_own_names() {
    const LIBRARY: &str = "
volatile unsigned long sink;
void FUNCTION(void) { for (int i = 0; i < 20000; i++) sink += i * sink; }
";
    const SOURCE: &str = "
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
static void *use(const char *library, const char *function, int seconds)
{
	void *handle = dlopen(library, RTLD_NOW);
	void (*call)(void) = dlsym(handle, function);
	for (time_t end = time(0) + seconds; time(0) < end;)
		for (int i = 0; i < 100; i++)
			call();
	dlclose(handle);
	return call;
}
int main(void)
{
	void *first = use(FIRST, \"first_function\", 4);
	void *second = use(SECOND, \"second_function\", 60);
	return first == second;
}
";
    let fixture = ProfileFixture::new("swap");
    let library = |name: &str, function: &str| {
        let define = format!("-DFUNCTION={function}");
        fixture.compile(name, LIBRARY, &[&["-shared", "-fPIC", define.as_str()], &FRAME_POINTERS[..]].concat())
    };
    // Names of one length, so that both libraries have one layout.
    let paths = [library("libfirst-.so", "first_function"), library("libsecond.so", "second_function")];
    let defines = [format!("-DFIRST=\"{}\"", paths[0].display()), format!("-DSECOND=\"{}\"", paths[1].display())];
    let flags: Vec<&str> = defines.iter().map(String::as_str).chain(FRAME_POINTERS).chain(["-ldl"]).collect();
    let program = fixture.compile("swapper", SOURCE, &flags);
    let (meta, folded, _fixture) = profiled(fixture, &program, 199 * 15).await;
    let (first, second) =
        (samples_with(&folded, &["first_function"]), samples_with(&folded, &["libsecond.so`second_function"]));
    println!("{first} first, {second} second, {} remapped", meta.counts.remapped);
    // After the change at most one interval of reading mappings has the wrong names, and those samples are counted.
    assert!(second > first, "{first} {second}");
    assert!(first <= 199 * 4 + meta.counts.remapped + 199);
}

#[tokio::test]
#[ignore = "needs root"]
async fn deep_recursion_has_a_box_for_the_callers_that_are_missing() {
    const SOURCE: &str = "
volatile unsigned long sink;
__attribute__((noinline)) void dig(int depth)
{
	if (depth) { dig(depth - 1); sink++; return; }
	for (int i = 0; i < 200000; i++) sink += i * sink;
}
int main(void) { for (;;) dig(300); }
";
    let fixture = ProfileFixture::new("deep");
    let program = fixture.compile("digger", SOURCE, &FRAME_POINTERS);
    let (meta, folded, _fixture) = profiled(fixture, &program, 100).await;
    assert!(samples_with(&folded, &["digger;digger;[truncated];dig;dig;dig"]) * 10 > meta.counts.samples * 9);
    assert!(meta.counts.truncated * 10 > meta.counts.samples * 9);
}

#[tokio::test]
#[ignore = "needs root"]
async fn stacks_of_a_static_program_begin_at_its_entry() {
    let fixture = ProfileFixture::new("static");
    let program = fixture.program("static", "outer", "inner", &[&FRAME_POINTERS[..], &["-static"]].concat());
    let (meta, folded, _fixture) = profiled(fixture, &program, 100).await;
    let at_the_entry = samples_with(&folded, &["static;static;main;"]) + samples_with(&folded, &["static;static;_"]);
    assert_eq!(at_the_entry + samples_with(&folded, &["[truncated]"]), meta.counts.samples, "{folded}");
    assert_eq!(samples_with(&folded, &["tm_clones"]), 0);
    assert!(meta.counts.truncated * 10 < meta.counts.samples);
}

#[tokio::test]
#[ignore = "needs root"]
async fn caller_of_a_leaf_without_a_frame_is_counted_as_missing() {
    let fixture = ProfileFixture::new("leaf");
    let flags = ["-O2", "-fno-omit-frame-pointer", "-momit-leaf-frame-pointer"];
    let program = fixture.program("leaf", "outer", "inner", &flags);
    let (meta, folded, fixture) = profiled(fixture, &program, 100).await;
    assert!(samples_with(&folded, &["main;inner"]) * 10 > meta.counts.samples * 8, "{folded}");
    assert!(meta.counts.caller_missing * 10 > meta.counts.samples * 9);
    assert!(meta.counts.truncated * 10 < meta.counts.samples);
    let mut svg = String::new();
    let (_, _, mut file) = fixture.results.get("shop/code", jiff::Timestamp::now()).unwrap().unwrap();
    std::io::Read::read_to_string(&mut file, &mut svg).unwrap();
    assert!(svg.contains(" % without the caller of their innermost function"));
    drop(fixture);

    let fixture = ProfileFixture::new("framed");
    let program = fixture.with_frame_pointers("framed", "outer", "inner");
    let (meta, _, _fixture) = profiled(fixture, &program, 100).await;
    assert!(meta.counts.caller_missing * 10 < meta.counts.samples, "{}", meta.counts.caller_missing);
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
#[ignore = "needs root"]
async fn code_made_at_run_time_has_the_names_of_its_map() {
    const SOURCE: &str = "
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
	/* mov ecx, 200000; dec ecx; jnz; ret */
	unsigned char code[] = { 0xb9, 0x40, 0x0d, 0x03, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xc3 };
	void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char name[64];
	memcpy(page, code, sizeof(code));
	sprintf(name, \"/tmp/perf-%d.map\", getpid());
	FILE *map = fopen(name, \"w\");
	fprintf(map, \"%lx %x LazyCompile:~fetch /app/cart.js:7\\n\", (unsigned long)page, (int)sizeof(code));
	fclose(map);
	for (;;)
		((void (*)(void))page)();
}
";
    let fixture = ProfileFixture::new("jit");
    let program = fixture.compile("compiler", SOURCE, &FRAME_POINTERS);
    let (meta, folded, _fixture) = profiled(fixture, &program, 100).await;
    for map in fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path()) {
        if fs::read_to_string(&map).is_ok_and(|text| text.contains("LazyCompile:~fetch /app/cart.js:7")) {
            fs::remove_file(map).unwrap();
        }
    }
    let named = samples_with(&folded, &["LazyCompile:~fetch /app/cart.js:7_[j]"]);
    assert!(named * 10 > meta.counts.samples * 9, "{named}: {folded}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn functions_of_the_vdso_have_names() {
    const SOURCE: &str = "
#include <time.h>
int main(void) { struct timespec now; for (;;) clock_gettime(CLOCK_MONOTONIC_COARSE, &now); }
";
    let fixture = ProfileFixture::new("vdso");
    let program = fixture.compile("clock", SOURCE, &FRAME_POINTERS);
    let (meta, folded, _fixture) = profiled(fixture, &program, 100).await;
    assert!(samples_with(&folded, &["vdso`"]) * 4 > meta.counts.samples, "{folded}");
}

/// A stripped Go program; none without Go.
fn stripped_go() -> Option<PathBuf> {
    const SOURCE: &str = "package main\n\nvar sink int\n\n//go:noinline\nfunc leaf(n int) {\n\tfor i := 0; i < n; i++ {\n\t\tsink += i * sink\n\t}\n}\n\n//go:noinline\nfunc dig(n int) {\n\tleaf(n)\n\tsink++\n}\n\nfunc main() {\n\tfor {\n\t\tdig(200000)\n\t}\n}\n";
    let folder = std::env::temp_dir().join(format!("stripped-go-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.go"), SOURCE).unwrap();
    let mut go = Command::new("go");
    go.args(["build", "-ldflags", "-s -w", "-o", "gopher", "main.go"]).current_dir(&folder).env("CGO_ENABLED", "0");
    go.status().is_ok_and(|status| status.success()).then(|| folder.join("gopher"))
}

#[tokio::test]
#[ignore = "needs root"]
async fn stripped_go_has_names_and_says_that_callers_of_leaves_are_missing() {
    let Some(program) = stripped_go() else { return };
    let (meta, folded, _fixture) = profiled(ProfileFixture::new("go"), &program, 100).await;
    fs::remove_dir_all(program.parent().unwrap()).unwrap();
    assert!(samples_with(&folded, &["main.leaf"]) * 10 > meta.counts.samples * 8, "{folded}");
    assert!(
        samples_with(&folded, &["runtime.goexit", "runtime.main", "main.main;main.leaf"]) * 10
            > meta.counts.samples * 7
    );
    assert!(meta.counts.caller_missing * 10 > meta.counts.samples * 8);
    assert_eq!(meta.counts.files_dropped, 0);
}
