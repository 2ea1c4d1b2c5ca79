//! Reads BTF, of the kernel or split BTF of a module: types by number and by name. Pure; a cut or wrong file has fewer types.

use super::ctype::{CType, Function, Member, Parameter, StructRef};

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Typedefs and qualifiers in a row, or anonymous members inside each other, before a file is taken for a wrong one.
const MAX_DEPTH: u32 = 32;

/// The types of one file.
#[derive(Default)]
pub(super) struct Types {
    bytes: Vec<u8>,
    /// Where each type begins in `bytes`.
    types: Vec<u32>,
    /// Hash of the name and number of each function, struct, union and typedef that has one, sorted.
    named: Vec<(u32, u32)>,
    strings: (usize, usize),
    /// Types and bytes of strings of the kernel that come before those of a module; 0 and 0 of the kernel itself.
    base: (u32, u32),
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Type {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn length(self) -> usize {
        (self.info & 0xffff) as usize
    }

    fn kind_flag(self) -> bool {
        self.info >> 31 != 0
    }
}

/// The types of the kernel, and of a module that refers to them.
#[derive(Clone, Copy)]
pub(super) struct TypeSet<'a> {
    pub(super) kernel: &'a Types,
    pub(super) module: Option<&'a Types>,
}

impl Types {
    /// `base` is the kernel, for the types of a module.
    pub(super) fn parse(bytes: Vec<u8>, base: Option<&Self>) -> Option<Self> {
        let base = base.map_or((0, 0), |base| (base.count(), base.string_bytes()));
        let number = |at: usize| read_u32(&bytes, at).map(|number| number as usize);
        if u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]) != MAGIC {
            return None;
        }
        let header = number(4)?;
        let (types_at, types_length) = (header + number(8)?, number(12)?);
        let (strings_at, strings_length) = (header + number(16)?, number(20)?);
        bytes.get(types_at..types_at.checked_add(types_length)?)?;
        bytes.get(strings_at..strings_at.checked_add(strings_length)?)?;
        let mut types = Vec::with_capacity(types_length / 24);
        let (mut at, end) = (types_at, types_at + types_length);
        while at + 12 <= end {
            types.push(u32::try_from(at).ok()?);
            at += 12 + extra_bytes(read_u32(&bytes, at + 4)?)?;
        }
        types.shrink_to_fit();
        Some(Self { types, named: Vec::new(), strings: (strings_at, strings_length), base, bytes })
    }

    /// Sorts the types by their names. Those of a module may be strings of the kernel.
    pub(super) fn with_index(mut self, kernel: Option<&Self>) -> Self {
        let mut named = Vec::with_capacity(self.types.len() / 2);
        for (id, at) in (self.first_id()..).zip(&self.types) {
            let at = *at as usize;
            let (Some(name), Some(info)) = (read_u32(&self.bytes, at), read_u32(&self.bytes, at + 4)) else { continue };
            let is_named = matches!(info >> 24 & 0x1f, KIND_FUNC | KIND_STRUCT | KIND_UNION | KIND_TYPEDEF);
            if name == 0 || !is_named {
                continue;
            }
            if let Some(name) = self.string(name).or_else(|| kernel?.string(name)) {
                named.push((hash(name), id));
            }
        }
        named.sort_unstable();
        named.shrink_to_fit();
        self.named = named;
        self
    }

    /// Types, with `void` and those of the base.
    pub(super) fn count(&self) -> u32 {
        let own = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        if self.base.0 == 0 { own.saturating_add(1) } else { self.base.0.saturating_add(own) }
    }

    pub(super) fn string_bytes(&self) -> u32 {
        self.base.1.saturating_add(u32::try_from(self.strings.1).unwrap_or(u32::MAX))
    }

    /// Names and values of an enum, by a walk over all types. Empty if there is none of this name.
    pub(super) fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let is_wanted = |found: &Type| found.kind() == KIND_ENUM && self.string(found.name) == Some(name);
        let Some(found) = (self.first_id()..self.count()).filter_map(|id| self.own(id)).find(is_wanted) else {
            return Vec::new();
        };
        let value = |index| {
            let at = found.at + 12 + 8 * index;
            Some((read_u32(&self.bytes, at + 4)?, self.string(read_u32(&self.bytes, at)?)?.to_owned()))
        };
        (0..found.length()).filter_map(value).collect()
    }

    fn first_id(&self) -> u32 {
        self.base.0.max(1)
    }

    fn own(&self, id: u32) -> Option<Type> {
        let at = *self.types.get(id.checked_sub(self.first_id())? as usize)? as usize;
        Some(Type {
            at,
            name: read_u32(&self.bytes, at)?,
            info: read_u32(&self.bytes, at + 4)?,
            size_or_type: read_u32(&self.bytes, at + 8)?,
        })
    }

    /// A string of this file, by its offset in the strings of base and file.
    fn string(&self, offset: u32) -> Option<&str> {
        let offset = offset.checked_sub(self.base.1)? as usize;
        let strings = self.bytes.get(self.strings.0..self.strings.0 + self.strings.1)?;
        let rest = strings.get(offset..)?;
        std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
    }
}

impl<'a> TypeSet<'a> {
    fn files(self) -> impl Iterator<Item = &'a Types> {
        self.module.into_iter().chain([self.kernel])
    }

    fn find(self, id: u32) -> Option<(&'a Types, Type)> {
        self.files().find_map(|file| Some((file, file.own(id)?)))
    }

    fn name_of(self, found: Type) -> &'a str {
        if found.name == 0 {
            return "";
        }
        self.files().find_map(|file| file.string(found.name)).unwrap_or_default()
    }

    /// Number of the first type with a name and one of these kinds; those of the module first.
    fn by_name(self, name: &str, kinds: &[u32]) -> Option<u32> {
        let wanted = hash(name);
        self.files().find_map(|file| {
            let first = file.named.partition_point(|(hash, _)| *hash < wanted);
            let same = file.named[first..].iter().take_while(|(hash, _)| *hash == wanted);
            same.map(|(_, id)| *id).find(|id| {
                self.find(*id).is_some_and(|(_, found)| kinds.contains(&found.kind()) && self.name_of(found) == name)
            })
        })
    }

    /// Follows typedefs and qualifiers; also returns the name of the last typedef.
    fn resolve(self, mut id: u32) -> Option<(u32, &'a Types, Type, &'a str)> {
        let mut typedef = "";
        for _ in 0..MAX_DEPTH {
            let (file, found) = self.find(id)?;
            match found.kind() {
                KIND_TYPEDEF => typedef = self.name_of(found),
                KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {}
                _ => return Some((id, file, found, typedef)),
            }
            id = found.size_or_type;
        }
        None
    }

    /// A type as a plain value.
    fn ctype(self, id: u32, depth: u32) -> CType {
        if id == 0 {
            return CType::Void;
        }
        let Some((id, file, found, typedef)) = self.resolve(id).filter(|_| depth < MAX_DEPTH) else {
            // A typedef of void.
            return self.find(id).map_or(CType::Other, |_| CType::Void);
        };
        match found.kind() {
            KIND_INT => {
                let data = read_u32(&file.bytes, found.at + 12).unwrap_or_default();
                CType::Number { bytes: narrow(found.size_or_type), signed: data >> 24 & 1 != 0 }
            }
            // Older files do not say whether an enum is signed: C's are ints.
            KIND_ENUM | KIND_ENUM64 => CType::Number { bytes: narrow(found.size_or_type), signed: true },
            KIND_PTR => CType::Pointer(Box::new(self.ctype(found.size_or_type, depth + 1))),
            KIND_STRUCT | KIND_UNION | KIND_FWD => {
                let own = self.name_of(found);
                let is_union = found.kind() == KIND_UNION || found.kind() == KIND_FWD && found.kind_flag();
                let name = if own.is_empty() { typedef } else { own };
                CType::Struct(StructRef { name: name.into(), is_union, id })
            }
            KIND_ARRAY => {
                let element = read_u32(&file.bytes, found.at + 12).unwrap_or_default();
                let count = read_u32(&file.bytes, found.at + 20).unwrap_or_default();
                CType::Array { element: Box::new(self.ctype(element, depth + 1)), count }
            }
            KIND_FUNC_PROTO => CType::Function,
            _ => CType::Other,
        }
    }

    pub(super) fn function(self, name: &str) -> Option<Function> {
        let (_, found) = self.find(self.by_name(name, &[KIND_FUNC])?)?;
        self.prototype(found.size_or_type)
    }

    /// The function that a typedef of a pointer names, e.g. `btf_trace_sched_switch`.
    pub(super) fn function_of_typedef(self, name: &str) -> Option<Function> {
        let (_, _, pointer, _) = self.resolve(self.by_name(name, &[KIND_TYPEDEF])?)?;
        if pointer.kind() != KIND_PTR {
            return None;
        }
        let (id, ..) = self.resolve(pointer.size_or_type)?;
        self.prototype(id)
    }

    fn prototype(self, id: u32) -> Option<Function> {
        let (file, found) = self.find(id)?;
        if found.kind() != KIND_FUNC_PROTO {
            return None;
        }
        let parameters = (0..found.length()).map(|index| {
            let at = found.at + 12 + 8 * index;
            let name = read_u32(&file.bytes, at)?;
            let r#type = read_u32(&file.bytes, at + 4)?;
            // A variable argument list ends in a parameter of no type.
            let r#type = if r#type == 0 { CType::Other } else { self.ctype(r#type, 0) };
            let name = self.files().find_map(|file| file.string(name)).unwrap_or_default();
            Some(Parameter { name: name.to_owned(), r#type })
        });
        Some(Function { parameters: parameters.collect::<Option<_>>()?, returned: self.ctype(found.size_or_type, 0) })
    }

    /// A struct or union by its name, or by that of a typedef.
    pub(super) fn structure(self, name: &str) -> Option<StructRef> {
        let id = self.by_name(name, &[KIND_STRUCT, KIND_UNION]).or_else(|| self.by_name(name, &[KIND_TYPEDEF]))?;
        match self.ctype(id, 0) {
            CType::Struct(found) => Some(found),
            _ => None,
        }
    }

    pub(super) fn size_of(self, of: &StructRef) -> Option<u32> {
        let (_, found) = self.find(of.id)?;
        matches!(found.kind(), KIND_STRUCT | KIND_UNION).then_some(found.size_or_type)
    }

    /// A member by name, also one inside an anonymous member.
    pub(super) fn member(self, of: &StructRef, name: &str) -> Option<Member> {
        // A forward declaration of a module stands for the kernel's struct.
        let id = match self.find(of.id)?.1.kind() {
            KIND_FWD => self.by_name(&of.name, &[KIND_STRUCT, KIND_UNION])?,
            _ => of.id,
        };
        self.member_below(id, name, 0, 0)
    }

    fn member_below(self, id: u32, name: &str, offset: u32, depth: u32) -> Option<Member> {
        let (_, file, found, _) = self.resolve(id).filter(|_| depth < MAX_DEPTH)?;
        if !matches!(found.kind(), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..found.length()).find_map(|index| {
            let at = found.at + 12 + 12 * index;
            let own = read_u32(&file.bytes, at)?;
            let r#type = read_u32(&file.bytes, at + 4)?;
            let position = read_u32(&file.bytes, at + 8)?;
            let (bits, bit_offset) =
                if found.kind_flag() { (position >> 24, position & 0x00ff_ffff) } else { (0, position) };
            let offset = offset.checked_add(bit_offset / 8)?;
            if own == 0 {
                return self.member_below(r#type, name, offset, depth + 1);
            }
            let found = self.files().find_map(|file| file.string(own))?;
            (found == name).then(|| Member { offset, r#type: self.ctype(r#type, 0), is_bitfield: bits != 0 })
        })
    }
}

/// FNV-1a, 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn narrow(bytes: u32) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Bytes behind the fixed part of a type; none for a kind that this code does not know, whose length cannot be known.
fn extra_bytes(info: u32) -> Option<usize> {
    let length = (info & 0xffff) as usize;
    Some(match info >> 24 & 0x1f {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_PTR | KIND_FWD | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_FUNC | KIND_FLOAT
        | KIND_TYPE_TAG => 0,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * length,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * length,
        _ => return None,
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(found.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Builds BTF, type by type.
    #[derive(Default)]
    pub(crate) struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
        base_strings: u32,
    }

    impl Builder {
        pub(crate) fn new(base_strings: u32) -> Self {
            let strings = if base_strings == 0 { vec![0] } else { Vec::new() };
            Self { strings, base_strings, ..Self::default() }
        }

        pub(crate) fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let offset = self.base_strings + u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(name.bytes().chain([0]));
            offset
        }

        pub(crate) fn add(&mut self, name: &str, kind: u32, length: u32, size_or_type: u32, extra: &[u32]) {
            let name = self.name(name);
            let fixed = [name, kind << 24 | length, size_or_type];
            self.types.extend(fixed.iter().chain(extra).flat_map(|number| number.to_le_bytes()));
        }

        pub(crate) fn finish(self) -> Vec<u8> {
            let mut bytes = MAGIC.to_le_bytes().to_vec();
            bytes.extend([1, 0]);
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            for number in [24, 0, types, types, strings] {
                bytes.extend(u32::to_le_bytes(number));
            }
            bytes.extend(self.types);
            bytes.extend(self.strings);
            bytes
        }
    }

    /// 1 int, 2 char, 3 char *, 4 struct reef { int depth; union { char *name; int size; }; }, 5 that union, 6 reef *,
    /// 7 prototype int (reef *, char *), 8 function reef_grow.
    fn kernel() -> Types {
        let mut btf = Builder::new(0);
        btf.add("int", KIND_INT, 0, 4, &[1 << 24 | 32]);
        btf.add("char", KIND_INT, 0, 1, &[1 << 24 | 8]);
        btf.add("", KIND_PTR, 0, 2, &[]);
        let (depth, name, size) = (btf.name("depth"), btf.name("name"), btf.name("size"));
        btf.add("reef", KIND_STRUCT, 2, 16, &[depth, 1, 0, 0, 5, 64]);
        btf.add("", KIND_UNION, 2, 8, &[name, 3, 0, size, 1, 0]);
        btf.add("", KIND_PTR, 0, 4, &[]);
        let (reef, text) = (btf.name("reef_arg"), btf.name("text"));
        btf.add("", KIND_FUNC_PROTO, 2, 1, &[reef, 6, text, 3]);
        btf.add("reef_grow", KIND_FUNC, 0, 7, &[]);
        Types::parse(btf.finish(), None).unwrap().with_index(None)
    }

    #[test]
    fn function_has_its_parameters_with_their_types() {
        let kernel = kernel();
        let set = TypeSet { kernel: &kernel, module: None };
        let function = set.function("reef_grow").unwrap();
        let seen: Vec<String> = function.parameters.iter().map(|it| format!("{} {}", it.r#type, it.name)).collect();
        assert_eq!(seen, ["struct reef * reef_arg", "char * text"]);
        assert_eq!(function.returned, CType::Number { bytes: 4, signed: true });
        assert_eq!(set.function("reef"), None, "a struct is not a function");
    }

    #[test]
    fn member_inside_an_anonymous_union_is_found_with_its_offset() {
        let kernel = kernel();
        let set = TypeSet { kernel: &kernel, module: None };
        let reef = set.structure("reef").unwrap();
        let name = set.member(&reef, "name").unwrap();
        assert_eq!((name.offset, name.r#type.is_text()), (8, true));
        assert_eq!(set.member(&reef, "depth").unwrap().offset, 0);
        assert_eq!(set.member(&reef, "width"), None);
        assert_eq!(set.size_of(&reef), Some(16));
    }

    #[test]
    fn module_refers_to_types_and_names_of_the_kernel() {
        let kernel = kernel();
        let mut btf = Builder::new(kernel.string_bytes());
        // 9 prototype void (void *, reef *), 10 pointer to it, 11 typedef btf_trace_tide.
        let ignored = btf.name("__data");
        btf.add("", KIND_FUNC_PROTO, 2, 0, &[ignored, 6, ignored, 6]);
        btf.add("", KIND_PTR, 0, 9, &[]);
        btf.add("btf_trace_tide", KIND_TYPEDEF, 0, 10, &[]);
        let module = Types::parse(btf.finish(), Some(&kernel)).unwrap().with_index(Some(&kernel));
        let set = TypeSet { kernel: &kernel, module: Some(&module) };
        let function = set.function_of_typedef("btf_trace_tide").unwrap();
        assert_eq!(function.parameters[1].r#type.to_string(), "struct reef *");
        assert_eq!(set.function_of_typedef("trace_tide"), None);
        assert_eq!(set.function("reef_grow").unwrap().parameters.len(), 2);
    }

    #[test]
    fn enum_has_its_names_with_their_values() {
        let mut btf = Builder::new(0);
        btf.add("int", KIND_INT, 0, 4, &[1 << 24 | 32]);
        let (shallow, deep) = (btf.name("SHALLOW"), btf.name("DEEP"));
        btf.add("depth", KIND_ENUM, 2, 4, &[shallow, 2, deep, 70]);
        let kernel = Types::parse(btf.finish(), None).unwrap();
        assert_eq!(kernel.enumerators("depth"), [(2, "SHALLOW".to_owned()), (70, "DEEP".to_owned())]);
        assert_eq!(kernel.enumerators("int"), [], "an int has no names");
    }

    #[test]
    fn cut_file_is_refused_or_has_fewer_types() {
        let kernel = kernel();
        for length in 0..kernel.bytes.len() {
            if let Some(cut) = Types::parse(kernel.bytes[..length].to_vec(), None) {
                let cut = cut.with_index(None);
                let set = TypeSet { kernel: &cut, module: None };
                set.function("reef_grow");
                set.structure("reef");
            }
        }
    }
}
