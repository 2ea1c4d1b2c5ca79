//! What is known of a function: its name, its overloads, and what its results mean.

pub(super) use trilobite_schema::ColumnType::{
    Boolean as B, Float64 as F, Int64 as I, String as S, Time64Ns as T, UInt128 as U,
};
use trilobite_schema::{ColumnType, SemanticType};

/// A function of rows or of groups of rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, without `px.`.
    pub name: &'static str,
    /// Whether it makes a value of each row or of a group.
    pub kind: FunctionKind,
    /// The types that it takes, and what it makes of them.
    pub overloads: &'static [Overload],
    /// What its results mean.
    pub semantic: SemanticRule,
    /// Where it can be computed.
    pub computed_at: ComputedAt,
    /// Pixie does not have it.
    pub is_extension: bool,
}

/// Whether a function makes a value of each row or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// A value of each row.
    Scalar,
    /// A value of a group of rows.
    Aggregate,
}

/// Where a function can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputedAt {
    /// Anywhere.
    Anywhere,
    /// On the node that the row comes from: it needs the node's processes.
    Node,
}

/// Types of the arguments, and the type of the result.
#[derive(Debug, PartialEq, Eq)]
pub struct Overload {
    /// Types of the arguments.
    pub arguments: &'static [ColumnType],
    /// Type of the result.
    pub result: ColumnType,
}

/// What results mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SemanticRule {
    /// Nothing beside their type.
    Nothing,
    /// Always this.
    Always(SemanticType),
    /// What all arguments mean, if they mean the same and it is one of these.
    SameOf(&'static [SemanticType]),
    /// What all arguments from this one on mean, if they mean the same.
    SameFrom(usize),
    /// A rate, where something is divided by a duration.
    Rate,
    /// Quantiles, of durations where they are durations.
    Quantiles,
}

impl SemanticRule {
    /// The meaning of a result whose arguments mean this.
    pub(crate) fn result(self, arguments: &[SemanticType]) -> SemanticType {
        let same = |arguments: &[SemanticType]| match arguments {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
            _ => SemanticType::None,
        };
        match self {
            Self::Nothing => SemanticType::None,
            Self::Always(semantic) => semantic,
            Self::SameOf(kept) => Some(same(arguments)).filter(|it| kept.contains(it)).unwrap_or(SemanticType::None),
            Self::SameFrom(first) => same(arguments.get(first..).unwrap_or_default()),
            Self::Rate => match arguments {
                [SemanticType::Bytes, SemanticType::DurationNs] => SemanticType::ThroughputBytesPerNs,
                [_, SemanticType::DurationNs] => SemanticType::ThroughputPerNs,
                _ => SemanticType::None,
            },
            Self::Quantiles => match arguments {
                [SemanticType::DurationNs] => SemanticType::DurationNsQuantiles,
                _ => SemanticType::Quantiles,
            },
        }
    }
}

pub(super) const fn scalar(name: &'static str, overloads: &'static [Overload]) -> Function {
    Function {
        name,
        kind: FunctionKind::Scalar,
        overloads,
        semantic: SemanticRule::Nothing,
        computed_at: ComputedAt::Anywhere,
        is_extension: false,
    }
}

pub(super) const fn aggregate(name: &'static str, overloads: &'static [Overload]) -> Function {
    Function { kind: FunctionKind::Aggregate, ..scalar(name, overloads) }
}

impl Function {
    pub(super) const fn means(self, rule: SemanticRule) -> Self {
        Self { semantic: rule, ..self }
    }

    pub(super) const fn is(self, semantic: SemanticType) -> Self {
        Self { semantic: SemanticRule::Always(semantic), ..self }
    }

    pub(super) const fn on_node(self) -> Self {
        Self { computed_at: ComputedAt::Node, ..self }
    }

    pub(super) const fn extension(self) -> Self {
        Self { is_extension: true, ..self }
    }

    /// The overload for arguments of these types: the one that has them, or else the one whose numbers can hold them.
    pub(crate) fn overload(&self, arguments: &[ColumnType]) -> Option<&'static Overload> {
        let widened = |(given, taken): (&ColumnType, &ColumnType)| given == taken || (*given, *taken) == (I, F);
        let exact = self.overloads.iter().find(|overload| overload.arguments == arguments);
        exact.or_else(|| {
            let fits = |overload: &&Overload| {
                overload.arguments.len() == arguments.len() && arguments.iter().zip(overload.arguments).all(widened)
            };
            self.overloads.iter().find(fits)
        })
    }

    /// The overloads as text, e.g. `(STRING, STRING) -> BOOLEAN`.
    pub fn signatures(&self) -> String {
        let signature = |overload: &Overload| {
            let arguments: Vec<&str> = overload.arguments.iter().map(|kind| kind.name()).collect();
            format!("({}) -> {}", arguments.join(", "), overload.result.name())
        };
        self.overloads.iter().map(signature).collect::<Vec<_>>().join(" or ")
    }
}

/// `overloads![(S, S) -> B, ..]`
macro_rules! overloads {
    ($(($($argument:ident),*) -> $result:ident),+ $(,)?) => {
        &[$(Overload { arguments: &[$($argument),*], result: $result }),+]
    };
}
pub(super) use overloads;
