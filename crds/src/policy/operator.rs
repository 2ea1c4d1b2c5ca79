//! Operators of selectors, and the types of values that each has a meaning for.

use super::{
    argument::{ArgumentType, ValueClass},
    word::vocabulary,
};

vocabulary! {
    /// How a filter compares. A negated operator matches where none of its values does.
    #[derive(Default)]
    Operator {
        /// The value is one of the listed ones.
        #[default]
        Equal = "Equal" | "eq",
        /// The value is none of the listed ones.
        NotEqual = "NotEqual" | "neq",
        /// The text begins with one of the values.
        Prefix = "Prefix",
        /// The text begins with none of the values.
        NotPrefix = "NotPrefix",
        /// The text ends in one of the values.
        Postfix = "Postfix",
        /// The text ends in none of the values.
        NotPostfix = "NotPostfix",
        /// The number is greater than one of the values.
        GreaterThan = "GT" | "GreaterThan",
        /// The number is less than one of the values.
        LessThan = "LT" | "LessThan",
        /// The number has a bit in common with one of the values.
        Mask = "Mask",
        /// The source port is in one of the ranges.
        SPort = "SPort",
        /// The source port is in none of the ranges.
        NotSPort = "NotSPort",
        /// The source port is below 1024.
        SPortPriv = "SPortPriv",
        /// The source port is not below 1024.
        NotSPortPriv = "NotSPortPriv",
        /// The destination port is in one of the ranges.
        DPort = "DPort",
        /// The destination port is in none of the ranges.
        NotDPort = "NotDPort",
        /// The destination port is below 1024.
        DPortPriv = "DPortPriv",
        /// The destination port is not below 1024.
        NotDPortPriv = "NotDPortPriv",
        /// The source address is in one of the networks.
        SAddr = "SAddr",
        /// The source address is in none of the networks.
        NotSAddr = "NotSAddr",
        /// The destination address is in one of the networks.
        DAddr = "DAddr",
        /// The destination address is in none of the networks.
        NotDAddr = "NotDAddr",
        /// The IP protocol is one of the values.
        Protocol = "Protocol",
        /// The address family is one of the values.
        Family = "Family",
        /// The TCP state is one of the values.
        State = "State",
        /// The number is in one of the ranges or lists.
        InMap = "InMap",
        /// The number is in none of the ranges or lists.
        NotInMap = "NotInMap",
        /// The first capability set has a capability that the second lacks.
        CapabilitiesGained = "CapabilitiesGained",
        /// The number is in one of the ranges.
        InRange = "InRange",
        /// The number is in none of the ranges.
        NotInRange = "NotInRange",
        /// The text contains one of the values.
        SubString = "SubString",
        /// The text contains one of the values, where the case of ASCII letters is ignored.
        SubStringIgnCase = "SubStringIgnCase" | "SubStringIgnoreCase",
        /// An expression holds.
        CelExpr = "CelExpr",
        /// The file's type is one of the values.
        FileType = "FileType",
        /// The file's type is none of the values.
        NotFileType = "NotFileType",
        /// A process fact is one of the listed ones.
        In = "In",
        /// A process fact is none of the listed ones.
        NotIn = "NotIn",
    }
}

/// For whole numbers.
const NUMBER: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::GreaterThan,
    Operator::LessThan,
    Operator::Mask,
    Operator::InMap,
    Operator::NotInMap,
    Operator::InRange,
    Operator::NotInRange,
];
/// For strings, paths and names.
const TEXT: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::Prefix,
    Operator::NotPrefix,
    Operator::Postfix,
    Operator::NotPostfix,
    Operator::SubString,
    Operator::SubStringIgnCase,
];
const FILE_TYPE: &[Operator] = &[Operator::FileType, Operator::NotFileType];
/// For the address that a program passes to the kernel.
const ADDRESS: &[Operator] = &[
    Operator::SAddr,
    Operator::NotSAddr,
    Operator::SPort,
    Operator::NotSPort,
    Operator::SPortPriv,
    Operator::NotSPortPriv,
    Operator::Family,
];
/// In addition, for both ends of a connection.
const CONNECTION: &[Operator] = &[
    Operator::DAddr,
    Operator::NotDAddr,
    Operator::DPort,
    Operator::NotDPort,
    Operator::DPortPriv,
    Operator::NotDPortPriv,
    Operator::Protocol,
];
const CAPABILITIES: &[Operator] = &[Operator::Equal, Operator::NotEqual, Operator::Mask, Operator::CapabilitiesGained];
/// For matchBinaries and matchParentBinaries.
pub const BINARY: &[Operator] =
    &[Operator::In, Operator::NotIn, Operator::Prefix, Operator::NotPrefix, Operator::Postfix, Operator::NotPostfix];
/// For every other fact about the process.
pub const LISTED: &[Operator] = &[Operator::In, Operator::NotIn];

impl Operator {
    /// Whether the operator is the opposite of `positive()`: it matches where none of its values does.
    pub fn is_negated(self) -> bool {
        self.positive() != self
    }

    /// The operator that this one negates; itself where it negates none.
    pub fn positive(self) -> Self {
        match self {
            Self::NotEqual => Self::Equal,
            Self::NotPrefix => Self::Prefix,
            Self::NotPostfix => Self::Postfix,
            Self::NotSPort => Self::SPort,
            Self::NotSPortPriv => Self::SPortPriv,
            Self::NotDPort => Self::DPort,
            Self::NotDPortPriv => Self::DPortPriv,
            Self::NotSAddr => Self::SAddr,
            Self::NotDAddr => Self::DAddr,
            Self::NotInMap => Self::InMap,
            Self::NotInRange => Self::InRange,
            Self::NotFileType => Self::FileType,
            Self::NotIn => Self::In,
            other => other,
        }
    }

    /// Whether the operator needs no values.
    pub fn takes_no_values(self) -> bool {
        matches!(self.positive(), Self::SPortPriv | Self::DPortPriv | Self::CapabilitiesGained)
    }

    /// The operators that have a meaning for arguments of a type. A tracepoint's `auto` has none here: the node knows the
    /// type, and asks again.
    pub fn for_type(r#type: ArgumentType) -> Vec<Self> {
        let groups: &[&[Self]] = match r#type.class() {
            ValueClass::Number(_) => &[NUMBER],
            ValueClass::Text => &[TEXT],
            ValueClass::File => &[TEXT, FILE_TYPE],
            ValueClass::Socket if r#type == ArgumentType::Skb => &[ADDRESS, CONNECTION],
            ValueClass::Socket => &[ADDRESS, CONNECTION, &[Self::State]],
            ValueClass::SocketAddress => &[ADDRESS],
            ValueClass::UnixAddress => &[TEXT, &[Self::Family]],
            ValueClass::Capabilities => &[CAPABILITIES],
            ValueClass::Auto | ValueClass::Opaque => &[],
        };
        groups.concat()
    }

    /// Whether the operator has a meaning for arguments of a type.
    pub fn applies_to(self, r#type: ArgumentType) -> bool {
        Self::for_type(r#type).contains(&self)
    }
}
