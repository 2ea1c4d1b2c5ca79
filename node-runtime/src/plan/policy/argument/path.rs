//! `resolve`: a path of members, e.g. `mm.owner.real_parent.comm` or `fdtab[1]` -> steps, and the type at its end.

use crate::{
    kernel::btf::CType,
    plan::policy::{
        kernel_view::{Architecture, Kernel},
        value::Step,
    },
};

/// The most names in a path, as in Tetragon.
const MAX_DEPTH: usize = 10;

/// Where a path ends: `offset` bytes behind the last step is an object of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    pub(super) r#type: CType,
    pub(super) offset: u32,
}

/// A name or an index.
enum Part<'a> {
    Name(&'a str),
    Index(u32),
}

/// Walks from a pointer to a struct.
pub(super) fn walk(begin: &CType, path: &str, module: Option<&str>, kernel: &dyn Kernel) -> Result<Path, String> {
    let parts = parts(path)?;
    let names = parts.iter().filter(|part| matches!(part, Part::Name(_))).count();
    if names > MAX_DEPTH {
        return Err(format!("resolve has {names} names, and at most {MAX_DEPTH} are possible"));
    }
    let CType::Pointer(target) = begin else {
        return Err(format!("resolve begins at a pointer, and {begin} is there; set btfType or use another argument"));
    };
    let mut at = Path { steps: Vec::new(), r#type: (**target).clone(), offset: 0 };
    for part in parts {
        at = match part {
            Part::Name(name) => at.member(name, module, kernel)?,
            Part::Index(index) => at.element(index, module, kernel)?,
        };
    }
    Ok(at)
}

impl Path {
    /// Goes through a pointer.
    fn follow(mut self) -> Self {
        if let CType::Pointer(target) = self.r#type {
            self.steps.push(Step { offset: self.offset, dereference: true });
            return Self { steps: self.steps, r#type: *target, offset: 0 };
        }
        self
    }

    fn member(self, name: &str, module: Option<&str>, kernel: &dyn Kernel) -> Result<Self, String> {
        let mut inside = self.follow();
        let CType::Struct(structure) = &inside.r#type else {
            return Err(format!("{} has no members, so {name} cannot be resolved", inside.r#type));
        };
        let found = kernel.member(&structure.name, name, module);
        let found = found.ok_or_else(|| format!("{} has no member {name} in this kernel", inside.r#type))?;
        if found.is_bitfield {
            return Err(format!("{name} is a bit field, which cannot be read; use another"));
        }
        inside.offset = inside.offset.checked_add(found.offset).ok_or("the struct is too large")?;
        inside.r#type = found.r#type;
        Ok(inside)
    }

    fn element(self, index: u32, module: Option<&str>, kernel: &dyn Kernel) -> Result<Self, String> {
        let (mut inside, element) = match &self.r#type {
            CType::Array { element, count } => {
                if index >= *count {
                    return Err(format!("[{index}] is behind the end of {}", self.r#type));
                }
                let element = (**element).clone();
                (self, element)
            }
            CType::Pointer(_) => {
                let inside = self.follow();
                let element = inside.r#type.clone();
                (inside, element)
            }
            other => return Err(format!("{other} is no array, so [{index}] cannot be resolved")),
        };
        let size = size_of(&element, module, kernel).ok_or_else(|| format!("the size of {element} is not known"))?;
        let bytes = size.checked_mul(index).and_then(|bytes| inside.offset.checked_add(bytes));
        inside.offset = bytes.ok_or("the index is too large")?;
        inside.r#type = element;
        Ok(inside)
    }
}

fn size_of(r#type: &CType, module: Option<&str>, kernel: &dyn Kernel) -> Option<u32> {
    match r#type {
        CType::Number { bytes, .. } => Some((*bytes).into()),
        CType::Pointer(_) => Some(8),
        CType::Struct(found) => kernel.size_of(&found.name, module),
        CType::Array { element, count } => size_of(element, module, kernel)?.checked_mul(*count),
        CType::Void | CType::Function | CType::Other => None,
    }
}

fn parts(path: &str) -> Result<Vec<Part<'_>>, String> {
    let wrong = || format!("{path:?} is no path of members; write e.g. mm.owner.comm or args[1]");
    let mut parts = Vec::new();
    for piece in path.split('.') {
        let (name, indexes) = piece.split_at(piece.find('[').unwrap_or(piece.len()));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || name.is_empty() && indexes.is_empty() {
            return Err(wrong());
        }
        if !name.is_empty() {
            parts.push(Part::Name(name));
        }
        let mut rest = indexes;
        while !rest.is_empty() {
            let (index, behind) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(wrong)?;
            parts.push(Part::Index(index.parse().map_err(|_| wrong())?));
            rest = behind;
        }
    }
    Ok(parts)
}

/// Offset of a register in the task's saved registers, by its name, e.g. `rdi`.
pub(super) fn register(name: &str, kernel: &dyn Kernel) -> Result<u16, String> {
    let member = match kernel.architecture() {
        // The kernel calls rax ax, and r10 r10.
        Architecture::X86_64 => match name.strip_prefix(['r', 'e']) {
            Some("flags") => "flags",
            Some(rest) if rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_lowercase()) => rest,
            _ => name,
        },
        Architecture::Aarch64 => name,
    };
    let found = match (kernel.architecture(), name.strip_prefix('x').map(str::parse::<u32>)) {
        (Architecture::Aarch64, Some(Ok(number))) if number < 31 => {
            kernel.member("pt_regs", "regs", None).map(|regs| regs.offset + 8 * number)
        }
        _ => kernel.member("pt_regs", member, None).map(|member| member.offset),
    };
    let advice = "set resolve to one, e.g. rdi";
    let offset = found.ok_or_else(|| format!("{name:?} is no register of this machine; {advice}"))?;
    u16::try_from(offset).map_err(|_| format!("{name} is too far away; {advice}"))
}
