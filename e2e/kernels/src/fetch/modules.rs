//! Takes the wanted modules and what they depend on out of an unpacked kernel, decompressed, numbered in the order of loading.
//! Packages have no modules.dep (depmod runs at installation), so each module's own `depends=` is read.

use std::{fs, path::Path, process::Command};

use super::{error::FetchError, find::find};
use crate::{kernels::Kernel, program::output};

/// Writes `00-llc.ko`, `01-stp.ko`, ... into `target`.
pub(crate) fn extract(tree: &Path, wanted: &[&str], target: &Path, kernel: Kernel) -> Result<(), FetchError> {
    let built_in = match find(tree, &|name| name == "modules.builtin")? {
        Some(path) => fs::read_to_string(&path).map_err(FetchError::file("read", &path))?,
        None => String::new(),
    };
    let load = |name: &str| match find(tree, &|file| module_name(file).as_deref() == Some(name))? {
        Some(path) => read(&path).map(Some),
        None if is_built_in(&built_in, name) => Ok(None),
        None => Err(FetchError::NoModule { series: kernel.series, module: name.to_owned() }),
    };
    let mut ordered = Vec::new();
    for name in wanted {
        in_order(name, &load, &mut ordered)?;
    }
    for (number, (name, module)) in ordered.iter().filter_map(|(n, m)| Some((n, m.as_ref()?))).enumerate() {
        let path = target.join(format!("{number:02}-{name}.ko"));
        fs::write(&path, module).map_err(FetchError::file("write", &path))?;
    }
    Ok(())
}

/// A module's bytes, or nothing for one that is built in.
type Module = Option<Vec<u8>>;
/// Gets a module by name.
type Load<'a> = &'a dyn Fn(&str) -> Result<Module, FetchError>;

/// Appends what `name` needs, then `name`, unless it is there.
fn in_order(name: &str, load: Load<'_>, ordered: &mut Vec<(String, Module)>) -> Result<(), FetchError> {
    if ordered.iter().any(|(there, _)| there == name) {
        return Ok(());
    }
    let module = load(name)?;
    for needed in module.as_deref().map(depends).unwrap_or_default() {
        in_order(&needed, load, ordered)?;
    }
    ordered.push((name.to_owned(), module));
    Ok(())
}

/// `sch-ingress.ko.xz` is the module `sch_ingress`.
fn module_name(file: &str) -> Option<String> {
    let (stem, compression) = file.split_once(".ko")?;
    matches!(compression, "" | ".xz" | ".zst").then(|| stem.replace('-', "_"))
}

fn is_built_in(list: &str, name: &str) -> bool {
    list.lines().filter_map(|line| line.rsplit('/').next()).any(|file| module_name(file).as_deref() == Some(name))
}

fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let decompressed_by = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).map_err(FetchError::file("read", path)),
    };
    Ok(output(Command::new(decompressed_by).arg("-dc").arg(path))?)
}

/// The names in the `depends=` of a module's .modinfo, a section of strings that end with NUL.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value: Vec<u8> = module[start + KEY.len()..].iter().copied().take_while(|byte| *byte != 0).collect();
    let names = String::from_utf8_lossy(&value).replace('-', "_");
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(wanted: &[&str]) -> Vec<String> {
        let load = |name: &str| {
            Ok(Some(match name {
                "bridge" => b"x\0depends=stp,llc\0license=GPL\0".to_vec(),
                "stp" => b"x\0depends=llc\0".to_vec(),
                _ => b"x\0depends=\0".to_vec(),
            }))
        };
        let mut ordered = Vec::new();
        wanted.iter().for_each(|name| in_order(name, &load, &mut ordered).unwrap());
        ordered.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        assert_eq!(order_of(&["veth", "bridge", "llc"]), ["veth", "llc", "stp", "bridge"]);
    }

    #[test]
    fn a_module_is_known_by_name_however_it_is_packed() {
        assert_eq!(module_name("sch_ingress.ko").as_deref(), Some("sch_ingress"));
        assert_eq!(module_name("sch-ingress.ko.xz").as_deref(), Some("sch_ingress"));
        assert_eq!(module_name("veth.ko.zst").as_deref(), Some("veth"));
        assert_eq!(module_name("veth.ko.sig"), None);
        assert!(is_built_in("kernel/net/llc/llc.ko\n", "llc"));
        assert!(!is_built_in("kernel/net/llc/llc2.ko\n", "llc"));
    }
}
