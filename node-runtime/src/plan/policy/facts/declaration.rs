//! C declarations of a file of facts: prototypes, parameters, types of members.

use crate::kernel::btf::{CType, Function, Parameter, StructRef};

/// `int tcp_connect(struct sock *sk)`.
pub(super) fn prototype(text: &str) -> Option<(String, Function)> {
    let (before, rest) = text.split_once('(')?;
    let inside = rest.trim_end().strip_suffix(')')?;
    let (returned, name) = declared(before)?;
    Some((name, Function { parameters: parameters(inside)?, returned })).filter(|(name, _)| !name.is_empty())
}

/// `struct sock *sk, int size`; `void` and nothing are no parameters.
pub(super) fn parameters(text: &str) -> Option<Vec<Parameter>> {
    if matches!(text.trim(), "" | "void") {
        return Some(Vec::new());
    }
    let each = text.split(',').map(|one| declared(one).map(|(r#type, name)| Parameter { name, r#type }));
    each.collect()
}

/// A type without a name, e.g. `char [16]`.
pub(super) fn r#type(text: &str) -> Option<CType> {
    declared(text).map(|(r#type, _)| r#type)
}

/// A type and, where it has one, a name behind it.
fn declared(text: &str) -> Option<(CType, String)> {
    let (text, count) = match text.split_once('[') {
        Some((before, rest)) => (before, Some(rest.trim_end().strip_suffix(']')?.trim().parse::<u32>().ok()?)),
        None => (text, None),
    };
    let spaced = text.replace('*', " * ");
    let mut words: Vec<&str> =
        spaced.split_whitespace().filter(|word| !matches!(*word, "const" | "volatile")).collect();
    let mut name = String::new();
    // A name follows a star, or is one word more than a type has.
    if let Some(last) = words.last().copied()
        && last != "*"
        && words.len() > type_words(&words)
    {
        last.clone_into(&mut name);
        words.pop();
    }
    let stars = words.iter().filter(|word| **word == "*").count();
    words.retain(|word| *word != "*");
    let mut found = base(&words)?;
    for _ in 0..stars {
        found = CType::Pointer(Box::new(found));
    }
    if let Some(count) = count {
        found = CType::Array { element: Box::new(found), count };
    }
    Some((found, name))
}

/// Words that belong to the type at the begin.
fn type_words(words: &[&str]) -> usize {
    match words.first() {
        Some(&("struct" | "union" | "enum")) => 2,
        Some(_) => {
            let is_integer = |word: &&&str| matches!(**word, "unsigned" | "signed" | "long" | "int" | "short" | "char");
            words.iter().take_while(is_integer).count().max(1)
        }
        None => 0,
    }
}

fn base(words: &[&str]) -> Option<CType> {
    let number = |bytes, signed| CType::Number { bytes, signed };
    let structure = |name: &str, is_union| CType::Struct(StructRef { name: name.into(), is_union, id: 0 });
    Some(match words {
        ["void"] => CType::Void,
        ["struct", name] => structure(name, false),
        ["union", name] => structure(name, true),
        ["enum", _] => number(4, true),
        ["kernel_cap_t" | "kuid_t" | "kgid_t" | "bpfptr_t" | "sockptr_t"] => structure(words[0], false),
        ["bool" | "u8" | "__u8" | "uint8_t"] => number(1, false),
        ["s8"] => number(1, true),
        ["u16" | "__u16" | "umode_t"] => number(2, false),
        ["s16"] => number(2, true),
        ["u32" | "__u32" | "uid_t" | "gid_t" | "fmode_t" | "gfp_t"] => number(4, false),
        ["s32" | "pid_t"] => number(4, true),
        ["u64" | "__u64" | "size_t"] => number(8, false),
        ["s64" | "ssize_t" | "loff_t"] => number(8, true),
        ["function"] => CType::Function,
        words => integer(words)?,
    })
}

fn integer(words: &[&str]) -> Option<CType> {
    let all_known = words.iter().all(|word| matches!(*word, "unsigned" | "signed" | "long" | "int" | "short" | "char"));
    if !all_known || words.is_empty() {
        return None;
    }
    let has = |wanted: &str| words.contains(&wanted);
    let bytes = match () {
        () if has("char") => 1,
        () if has("short") => 2,
        () if has("long") => 8,
        () => 4,
    };
    Some(CType::Number { bytes, signed: !has("unsigned") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_as_c_reads_them() {
        let read = |text| declared(text).map(|(r#type, name)| format!("{type}|{name}"));
        for (text, expected) in [
            ("const char *name", "char *|name"),
            ("unsigned long flags", "u64|flags"),
            ("long", "s64|"),
            ("struct file **files", "struct file **|files"),
            ("char comm[16]", "char[16]|comm"),
            ("union bpf_attr *attr", "union bpf_attr *|attr"),
            ("bpfptr_t uattr", "struct bpfptr_t|uattr"),
            ("enum bpf_cmd cmd", "s32|cmd"),
            ("void *", "void *|"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(read("what is this"), None);
    }
}
