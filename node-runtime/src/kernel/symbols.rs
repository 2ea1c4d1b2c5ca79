//! Functions of the kernel by name: those that can be traced, and those that only exist.

use std::{
    cell::OnceCell,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::tracefs;

const KALLSYMS: &str = "/proc/kallsyms";
const TRACEABLE: &str = "available_filter_functions";

/// What kallsyms and the list of traceable functions say of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    Missing,
    /// The kernel has it and refuses probes on it, e.g. `notrace`, or it is one of several of the same name.
    NotTraceable,
    Traceable,
}

/// The kernel's functions, read at the first use; a few megabytes, freed on drop.
pub struct Symbols {
    kallsyms: PathBuf,
    traceable: OnceCell<Option<Names>>,
    folder: Option<PathBuf>,
    existing: OnceCell<Option<Names>>,
}

/// Names in one text, found by binary search.
struct Names {
    text: String,
    /// Begin of each name, in the order of the names.
    sorted: Vec<u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self::new(Path::new(KALLSYMS), tracefs::root().ok())
    }
}

impl Symbols {
    pub fn new(kallsyms: &Path, tracefs: Option<PathBuf>) -> Self {
        Self { kallsyms: kallsyms.to_owned(), traceable: OnceCell::new(), folder: tracefs, existing: OnceCell::new() }
    }

    /// What is known of a function. Where the list of traceable functions cannot be read, whatever exists passes for traceable,
    /// and attaching decides.
    pub fn symbol(&self, name: &str) -> Symbol {
        match self.traceable() {
            Some(names) if names.has(name) => Symbol::Traceable,
            _ if !self.exists(name) => Symbol::Missing,
            Some(_) => Symbol::NotTraceable,
            None => Symbol::Traceable,
        }
    }

    /// Names of traceable functions, sorted. None where they cannot be listed.
    pub fn traceable_functions(&self, accepts: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
        Some(self.traceable()?.iter().filter(|name| accepts(name)).map(str::to_owned).collect())
    }

    fn traceable(&self) -> Option<&Names> {
        let read = || Names::read(File::open(self.folder.as_ref()?.join(TRACEABLE)).ok()?, traceable_function);
        self.traceable.get_or_init(read).as_ref()
    }

    fn exists(&self, name: &str) -> bool {
        let read = || Names::read(File::open(&self.kallsyms).ok()?, function_of_kallsyms);
        self.existing.get_or_init(read).as_ref().is_some_and(|names| names.has(name))
    }
}

impl Names {
    fn read(file: File, name_of: fn(&str) -> Option<&str>) -> Option<Self> {
        let mut text = String::new();
        let mut sorted = Vec::new();
        let (mut lines, mut line) = (BufReader::with_capacity(1 << 16, file), String::new());
        while lines.read_line(&mut line).ok()? > 0 {
            if let Some(name) = name_of(&line) {
                sorted.push(u32::try_from(text.len()).ok()?);
                text.push_str(name);
                text.push('\n');
            }
            line.clear();
        }
        text.shrink_to_fit();
        sorted.sort_unstable_by(|one, other| name_at(&text, *one).cmp(name_at(&text, *other)));
        Some(Self { text, sorted })
    }

    fn has(&self, name: &str) -> bool {
        self.sorted.binary_search_by(|at| name_at(&self.text, *at).cmp(name)).is_ok()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut last = "";
        self.sorted.iter().map(|at| name_at(&self.text, *at)).filter(move |name| {
            let is_new = *name != last;
            last = name;
            is_new
        })
    }
}

fn name_at(text: &str, at: u32) -> &str {
    text.get(at as usize..).and_then(|rest| rest.split('\n').next()).unwrap_or_default()
}

/// A line of the list of traceable functions is a name, for a module's function followed by ` [module]`.
fn traceable_function(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().next()
}

/// A line of kallsyms is `address type name`, for a module's symbol followed by `[module]`.
fn function_of_kallsyms(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if !matches!(words.next(), Some("t" | "T" | "w" | "W")) {
        return None;
    }
    words.next()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KALLSYMS: &str = "0000000000000000 T tcp_connect\n0000000000000000 t dev_queue_xmit\n\
        0000000000000000 D tcp_hashinfo\n0000000000000000 t reef_grow\t[reef]\n";

    fn symbols(traceable: Option<&str>) -> (tempfile::TempDir, Symbols) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kallsyms"), KALLSYMS).unwrap();
        if let Some(text) = traceable {
            fs::write(folder.path().join(TRACEABLE), text).unwrap();
        }
        let symbols = Symbols::new(&folder.path().join("kallsyms"), Some(folder.path().to_owned()));
        (folder, symbols)
    }

    #[test]
    fn function_that_exists_may_still_not_be_traceable() {
        let (_folder, symbols) = symbols(Some("tcp_connect\nreef_grow [reef]\n__tcp_close\n"));
        assert_eq!(symbols.symbol("tcp_connect"), Symbol::Traceable);
        assert_eq!(symbols.symbol("reef_grow"), Symbol::Traceable);
        assert_eq!(symbols.symbol("dev_queue_xmit"), Symbol::NotTraceable);
        assert_eq!(symbols.symbol("tcp_hashinfo"), Symbol::Missing, "data is no function");
        assert_eq!(symbols.symbol("tcp"), Symbol::Missing);
        let found = symbols.traceable_functions(&|name| name.contains("tcp")).unwrap();
        assert_eq!(found, ["__tcp_close", "tcp_connect"]);
    }

    #[test]
    fn without_a_list_what_exists_passes() {
        let (_folder, symbols) = symbols(None);
        assert_eq!(symbols.symbol("dev_queue_xmit"), Symbol::Traceable);
        assert_eq!(symbols.symbol("find_module_sections"), Symbol::Missing);
        assert_eq!(symbols.traceable_functions(&|_| true), None);
    }
}
