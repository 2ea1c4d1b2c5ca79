//! Types and constants of the C contract, in Rust's names: `struct flow_key` is `FlowKey`, `FLOW_NEW` of `enum flow_reason`
//! is `FlowReason::New`, `PROCESS_EXECVE` of `enum process_flag` is `process_flag::EXECVE`.

use std::path::Path;

use anyhow::{Context, Result};
use bindgen::{
    Builder, EnumVariation,
    callbacks::{DeriveInfo, EnumVariantValue, IntKind, ItemInfo, ItemKind, ParseCallbacks, TypeKind},
};

const CONTRACT: &str = "bpf/include/contract.h";

/// Enums whose values are bits of a number: constants in a module.
const FLAGS: &str = ".*_flag";

/// What the variants of an enum have in front of them in C, where it is not the first word of the enum's name.
const PREFIXES: [(&str, &str); 3] =
    [("data_verdict", "VERDICT_"), ("flow_direction", "INTERFACE_"), ("shared_word", "SHARED_")];

/// Writes them to `file`.
pub(crate) fn generate(clang_args: &[String], file: &Path) -> Result<()> {
    let bindings = Builder::default()
        .header(CONTRACT)
        .clang_args(clang_args)
        .allowlist_file("bpf/include/.*")
        .allowlist_file("bpf/.*hook.h")
        .default_enum_style(EnumVariation::Rust { non_exhaustive: false })
        .constified_enum_module(FLAGS)
        .derive_default(true)
        .derive_eq(true)
        .layout_tests(false)
        .prepend_enum_name(false)
        .use_core()
        .parse_callbacks(Box::new(Names))
        .generate()
        .with_context(|| format!("generating types of {CONTRACT}"))?;
    Ok(bindings.write_to_file(file)?)
}

#[derive(Debug)]
struct Names;

impl ParseCallbacks for Names {
    fn item_name(&self, item: ItemInfo<'_>) -> Option<String> {
        let is_ours = matches!(item.kind, ItemKind::Type) && !item.name.starts_with("__");
        (is_ours && !item.name.ends_with("_flag")).then(|| camel_case(item.name))
    }

    fn enum_variant_name(&self, name: Option<&str>, variant: &str, _: EnumVariantValue) -> Option<String> {
        let name = name?.trim_start_matches("enum ");
        let first_word = || format!("{}_", name.split('_').next().unwrap_or_default().to_uppercase());
        let prefix =
            PREFIXES.iter().find(|(of, _)| *of == name).map_or_else(first_word, |(_, prefix)| (*prefix).into());
        let short = variant.strip_prefix(&prefix)?;
        Some(if name.ends_with("_flag") { short.to_owned() } else { camel_case(&short.to_lowercase()) })
    }

    fn int_macro(&self, name: &str, value: i64) -> Option<IntKind> {
        match name {
            "RECORD_LAYOUT" => Some(IntKind::U16),
            // Compared with the answer of a program, which is an int.
            "FLOW_END_MORE" => Some(IntKind::I32),
            _ if value < 0 => Some(IntKind::U64),
            _ => None,
        }
    }

    /// zerocopy refuses a type with padding: bytes that nothing has written would leave the kernel, or could not be compared.
    fn add_derives(&self, info: &DeriveInfo<'_>) -> Vec<String> {
        let derives: &[&str] = match info.kind {
            TypeKind::Struct => &["FromBytes", "IntoBytes", "Immutable", "KnownLayout"],
            TypeKind::Enum => &["TryFromBytes", "Immutable"],
            TypeKind::Union => &[],
        };
        let order: &[&str] = if info.kind == TypeKind::Enum { &["PartialOrd", "Ord"] } else { &[] };
        derives.iter().map(|derive| format!("zerocopy::{derive}")).chain(order.iter().map(|&one| one.into())).collect()
    }
}

fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}
