//! Arguments against the formats and types of kernels.

use trilobite_crds::policy::{Argument, ArgumentSource, ArgumentType};

use super::*;
use crate::plan::policy::{
    facts::KernelFacts,
    format::{TracepointField, parse_format},
    value::Step,
};

const EXECVE: &str = include_str!("formats/sys_enter_execve.txt");
const OPENAT: &str = include_str!("formats/sys_enter_openat.txt");
const STATE: &str = include_str!("formats/inet_sock_set_state.txt");
const RELATIVE: &str = include_str!("formats/relative.txt");

const FACTS: &str = "
release: '6.12'
functions:
  - int reef_grow(struct reef *reef, const char *name, u32 size, const void *bytes, size_t count)
  - int reef_wide(struct wide by_value, int behind)
  - struct sock *reef_socket(void)
structs:
  reef: {bytes: 64, members: {owner: '8 struct task_struct *', name: '16 char [16]', path: '32 struct path', depth: '48 u16', rows: '56 struct reef *'}}
  task_struct: {bytes: 128, members: {comm: '64 char [16]', mm: '80 struct mm_struct *'}}
  mm_struct: {bytes: 32, members: {exe_file: '24 struct file *'}}
  pt_regs: {bytes: 168, members: {di: '112 unsigned long', r10: '56 unsigned long'}}
  linux_binprm: {bytes: 64, members: {file: '8 struct file *'}}
  filename: {bytes: 32, members: {name: '0 const char *'}}
  net_device: {bytes: 64, members: {name: '16 char [16]'}}
";

fn argument(index: i32, r#type: ArgumentType) -> Argument {
    Argument { index, r#type: r#type.into(), ..Argument::default() }
}

fn resolved(index: i32, r#type: ArgumentType, resolve: &str) -> Argument {
    Argument { resolve: resolve.into(), ..argument(index, r#type) }
}

fn kernel() -> KernelFacts {
    KernelFacts::parse(FACTS).unwrap()
}

fn record(subsystem: &str, format: &str) -> ArgumentPlace {
    ArgumentPlace::Tracepoint { subsystem: subsystem.into(), event: "event".into(), fields: parse_format(format) }
}

fn function(name: &str) -> ArgumentPlace {
    ArgumentPlace::Function { name: name.into(), function: kernel().function(name) }
}

/// Offset, bytes and kind of a field's value.
fn field(place: &ArgumentPlace, index: i32, r#type: ArgumentType) -> Result<(u16, u16, ValueKind), String> {
    let read = read(&argument(index, r#type), Role::Argument, place, &kernel())?;
    let value = read.value.unwrap();
    let ValueSource::Record { offset, bytes } = value.source else { panic!("{value:?}") };
    Ok((offset, bytes, value.kind))
}

fn steps(argument: &Argument, place: &ArgumentPlace) -> Result<(Vec<(u32, bool)>, ValueKind), String> {
    let value = read(argument, Role::Argument, place, &kernel())?.value.unwrap();
    let steps = value.steps.iter().map(|Step { offset, dereference }| (*offset, *dereference));
    Ok((steps.collect(), value.kind))
}

#[test]
fn pointer_to_pointers_is_not_text() {
    let execve = record("syscalls", EXECVE);
    assert_eq!(field(&execve, 5, ArgumentType::Auto), Ok((16, 8, ValueKind::String)));
    assert!(field(&execve, 6, ArgumentType::String).is_err());
    assert_eq!(field(&execve, 6, ArgumentType::Auto).unwrap().2, ValueKind::Number { bytes: 8, signed: false });
}

#[test]
fn copied_string_of_a_system_call_names_the_pointer_instead() {
    let openat = record("syscalls", OPENAT);
    for r#type in [ArgumentType::Auto, ArgumentType::String, ArgumentType::Uint32] {
        let detail = field(&openat, 9, r#type).unwrap_err();
        assert_eq!(detail, "__filename_val is not visible to programs; use filename, index 6");
    }
    assert_eq!(field(&openat, 6, ArgumentType::Auto), Ok((24, 8, ValueKind::String)));
}

#[test]
fn field_after_six_arguments_of_a_system_call_is_refused() {
    let field_at = |name: &str, offset| TracepointField {
        kind: "unsigned long".into(),
        name: name.into(),
        offset,
        size: 8,
        signed: false,
    };
    let place = |subsystem: &str| ArgumentPlace::Tracepoint {
        subsystem: subsystem.into(),
        event: "call".into(),
        fields: vec![field_at("sixth", 56), field_at("behind", 64)],
    };
    assert!(field(&place("syscalls"), 0, ArgumentType::Auto).is_ok());
    assert!(field(&place("syscalls"), 1, ArgumentType::Auto).is_err());
    assert!(field(&place("reef"), 1, ArgumentType::Auto).is_ok());
}

#[test]
fn address_of_four_bytes_is_not_a_number() {
    let state = record("sock", STATE);
    assert_eq!(field(&state, 7, ArgumentType::Auto), Ok((24, 2, ValueKind::Number { bytes: 2, signed: false })));
    for r#type in [ArgumentType::Auto, ArgumentType::Uint32, ArgumentType::String] {
        assert!(field(&state, 11, r#type).is_err(), "{type}");
    }
}

#[test]
fn text_inside_the_record_is_read_to_the_end_of_its_field() {
    let relative = record("reef", RELATIVE);
    assert_eq!(field(&relative, 4, ArgumentType::Auto).unwrap().2, ValueKind::RelLoc);
    assert!(field(&relative, 4, ArgumentType::Uint32).is_err());
    assert!(field(&relative, 5, ArgumentType::Uint32).is_err());
    assert_eq!(field(&relative, 6, ArgumentType::Auto), Ok((16, 16, ValueKind::Inline)));
}

#[test]
fn common_field_is_refused() {
    let detail = field(&record("reef", RELATIVE), 0, ArgumentType::Auto).unwrap_err();
    assert!(detail.contains("the first that they can has index 4"), "{detail}");
    assert!(field(&record("reef", RELATIVE), 99, ArgumentType::Auto).is_err());
}

#[test]
fn narrower_number_of_the_kernel_keeps_its_width_and_sign() {
    let place = function("reef_grow");
    let kind = |r#type| steps(&argument(2, r#type), &place).unwrap().1;
    assert_eq!(kind(ArgumentType::Int64), ValueKind::Number { bytes: 4, signed: false });
    assert_eq!(kind(ArgumentType::Int), ValueKind::Number { bytes: 4, signed: true });
    assert_eq!(kind(ArgumentType::Uint8), ValueKind::Number { bytes: 1, signed: false });
    assert_eq!(
        steps(&argument(0, ArgumentType::Int), &place).unwrap_err(),
        "reef_grow has struct reef * there in this kernel, not an int; use another argument, or resolve a field of it"
    );
    assert_eq!(
        steps(&argument(0, ArgumentType::Uint64), &place).unwrap().1,
        ValueKind::Number { bytes: 8, signed: false }
    );
}

#[test]
fn path_of_members_becomes_steps() {
    let place = function("reef_grow");
    let steps_of = |r#type, path| steps(&resolved(0, r#type, path), &place);
    assert_eq!(steps_of(ArgumentType::String, "name"), Ok((vec![(16, false)], ValueKind::String)));
    assert_eq!(steps_of(ArgumentType::String, "owner.comm"), Ok((vec![(8, true), (64, false)], ValueKind::String)));
    assert_eq!(
        steps_of(ArgumentType::File, "owner.mm.exe_file"),
        Ok((vec![(8, true), (80, true), (24, true)], ValueKind::File))
    );
    assert_eq!(steps_of(ArgumentType::Path, "path"), Ok((vec![(32, false)], ValueKind::Path)));
    assert_eq!(
        steps_of(ArgumentType::Auto, "rows[2].depth"),
        Ok((vec![(56, true), (2 * 64 + 48, false)], ValueKind::Number { bytes: 2, signed: false }))
    );
    assert_eq!(
        steps_of(ArgumentType::String, "owner.size").unwrap_err(),
        "struct task_struct has no member size in this kernel"
    );
    assert_eq!(
        steps_of(ArgumentType::Int, "owner").unwrap_err(),
        "reef_grow has struct task_struct * at owner in this kernel, not an int; use another argument, or resolve a field of it"
    );
    assert!(steps_of(ArgumentType::Int, "name[16]").is_err(), "behind the end");
}

#[test]
fn values_of_the_task_need_no_argument() {
    let task =
        Argument { source: Some(ArgumentSource::CurrentTask.into()), ..resolved(9, ArgumentType::String, "comm") };
    assert_eq!(steps(&task, &function("reef_grow")), Ok((vec![(64, false)], ValueKind::String)));
    let register = Argument { source: Some(ArgumentSource::PtRegs.into()), ..resolved(9, ArgumentType::Uint64, "rdi") };
    let value = read(&register, Role::Data, &function("reef_grow"), &kernel()).unwrap().value.unwrap();
    assert_eq!(value.source, ValueSource::PtRegs(112));
    let unknown = Argument { resolve: "moon".into(), ..register };
    assert!(read(&unknown, Role::Data, &function("reef_grow"), &kernel()).is_err());
}

#[test]
fn struct_with_its_content_behind_a_pointer_is_read_through_it() {
    let syscall = ArgumentPlace::Syscall { name: "__x64_sys_reef".into() };
    let steps_of = |r#type| steps(&argument(0, r#type), &syscall);
    assert_eq!(steps_of(ArgumentType::LinuxBinprm), Ok((vec![(8, true)], ValueKind::File)));
    assert_eq!(steps_of(ArgumentType::Filename), Ok((vec![(0, true)], ValueKind::String)));
    assert_eq!(steps_of(ArgumentType::NetDevice), Ok((vec![(16, false)], ValueKind::String)));
    assert_eq!(steps_of(ArgumentType::Kiocb).unwrap_err(), "struct kiocb has no member ki_filp in this kernel");
}

#[test]
fn buffer_has_the_size_of_another_argument() {
    let buffer = Argument { size_arg_index: 5, ..argument(3, ArgumentType::CharBuf) };
    let read_buffer = |buffer: &Argument| read(buffer, Role::Argument, &function("reef_grow"), &kernel());
    let found = read_buffer(&buffer).unwrap();
    assert_eq!(found.size.unwrap().source, ValueSource::Argument(4));
    let pointer = Argument { size_arg_index: 1, ..buffer.clone() };
    assert_eq!(read_buffer(&pointer).unwrap_err(), "sizeArgIndex: argument 0 is a pointer, not a size");
    let copied = Argument { size_arg_index: 0, return_copy: true, ..buffer };
    let found = read_buffer(&copied).unwrap();
    assert_eq!(found.size.unwrap().source, ValueSource::Return);
    assert!(found.value.unwrap().at_return);
}

#[test]
fn argument_behind_one_that_is_passed_by_value_is_refused() {
    let detail = steps(&argument(1, ArgumentType::Int), &function("reef_wide")).unwrap_err();
    assert!(detail.contains("passed by value"), "{detail}");
}

#[test]
fn returned_pointer_is_of_the_type_that_btf_says() {
    let read_return = |r#type| read(&argument(0, r#type), Role::Return, &function("reef_socket"), &kernel());
    assert_eq!(read_return(ArgumentType::Sock).unwrap().value.unwrap().source, ValueSource::Return);
    assert_eq!(
        read_return(ArgumentType::Int).unwrap_err(),
        "reef_socket has struct sock * there in this kernel, not an int; use type sock"
    );
}

#[test]
fn raw_tracepoint_shows_what_its_prototype_says() {
    let place = ArgumentPlace::RawTracepoint {
        event: "reef_tide".into(),
        types: vec![pointer_to("linux_binprm"), CType::Number { bytes: 8, signed: true }, pointer_to("reef")],
    };
    let read_at = |index, r#type| read(&argument(index, r#type), Role::Argument, &place, &kernel());
    assert_eq!(read_at(0, ArgumentType::Auto).unwrap().r#type, ArgumentType::LinuxBinprm);
    assert_eq!(read_at(1, ArgumentType::Auto).unwrap().r#type, ArgumentType::Long);
    assert!(read_at(2, ArgumentType::Auto).is_err());
    assert!(read_at(3, ArgumentType::Auto).is_err());
}
