//! Kubernetes' label selectors, compiled.

use crate::connection::Labels;

/// All requirements must hold; without any, everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Box<[Requirement]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: Box<str>,
    pub(crate) test: LabelTest,
}

/// Values are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LabelTest {
    In(Box<[Box<str>]>),
    /// Holds where there is no such label, too.
    NotIn(Box<[Box<str>]>),
    Exists,
    DoesNotExist,
}

impl Selector {
    pub(crate) fn new(requirements: Vec<Requirement>) -> Self {
        Self(requirements.into())
    }

    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// A key, and the values of which a label must have one: the requirement with the fewest.
    pub(crate) fn needed_values(&self) -> Option<(&str, &[Box<str>])> {
        let needed = self.0.iter().filter_map(|Requirement { key, test }| match test {
            LabelTest::In(values) => Some((&**key, &**values)),
            LabelTest::NotIn(_) | LabelTest::Exists | LabelTest::DoesNotExist => None,
        });
        needed.min_by_key(|(_, values)| values.len())
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&*self.key);
        let is_in = |values: &[Box<str>]| {
            value.is_some_and(|value| values.binary_search_by(|one| (**one).cmp(value.as_str())).is_ok())
        };
        match &self.test {
            LabelTest::In(values) => is_in(values),
            LabelTest::NotIn(values) => !is_in(values),
            LabelTest::Exists => value.is_some(),
            LabelTest::DoesNotExist => value.is_none(),
        }
    }
}
