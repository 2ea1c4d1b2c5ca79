//! C types as plain values: what a policy's argument is checked against.

use std::fmt;

/// A type, without its `const`, `volatile` and typedefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CType {
    Void,
    /// An integer or an enum.
    Number {
        /// 1, 2, 4, 8 or 16.
        bytes: u16,
        signed: bool,
    },
    /// A struct or union, by itself and not behind a pointer.
    Struct(StructRef),
    Pointer(Box<CType>),
    Array {
        element: Box<CType>,
        count: u32,
    },
    /// A function, behind a pointer.
    Function,
    /// A floating-point number, or a kind that is unknown here.
    Other,
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructRef {
    /// `file` of `struct file`; of an anonymous one the name of its typedef.
    pub name: String,
    pub is_union: bool,
    /// Its number in the BTF it was read from; 0 where it is found by name.
    pub id: u32,
}

/// A function and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub parameters: Vec<Parameter>,
    pub returned: CType,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub r#type: CType,
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the begin of the struct.
    pub offset: u32,
    pub r#type: CType,
    /// A bit field, which has no address.
    pub is_bitfield: bool,
}

impl CType {
    /// Name of the struct that this pointer points to.
    pub fn pointed_struct(&self) -> Option<&str> {
        match self {
            Self::Pointer(target) => match &**target {
                Self::Struct(found) => Some(&found.name),
                _ => None,
            },
            _ => None,
        }
    }

    /// `char *`, or a pointer to another integer of one byte.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Pointer(target) if matches!(**target, Self::Number { bytes: 1, .. }))
    }

    pub fn is_pointer(&self) -> bool {
        matches!(self, Self::Pointer(_))
    }

    /// Whether a register of 64 bits can hold it.
    pub fn fits_register(&self) -> bool {
        match self {
            Self::Number { bytes, .. } => *bytes <= 8,
            Self::Pointer(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for CType {
    /// As in C, e.g. `struct dentry *`; integers by their width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Void => f.write_str("void"),
            Self::Number { bytes: 1, .. } => f.write_str("char"),
            Self::Number { bytes, signed } => {
                write!(f, "{}{}", if *signed { "s" } else { "u" }, u32::from(*bytes) * 8)
            }
            Self::Struct(found) => {
                write!(f, "{} {}", if found.is_union { "union" } else { "struct" }, found.name)
            }
            Self::Pointer(target) => {
                write!(f, "{target}{}*", if matches!(**target, Self::Pointer(_)) { "" } else { " " })
            }
            Self::Array { element, count } => write!(f, "{element}[{count}]"),
            Self::Function => f.write_str("function"),
            Self::Other => f.write_str("another type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_in_c() {
        let file = CType::Struct(StructRef { name: "file".into(), is_union: false, id: 0 });
        let pointer = CType::Pointer(Box::new(file));
        assert_eq!(pointer.to_string(), "struct file *");
        assert_eq!(CType::Pointer(Box::new(pointer.clone())).to_string(), "struct file **");
        let text = CType::Pointer(Box::new(CType::Number { bytes: 1, signed: true }));
        assert_eq!(text.to_string(), "char *");
        assert!(text.is_text() && !pointer.is_text());
        assert_eq!(pointer.pointed_struct(), Some("file"));
    }
}
