//! Pods that policies cannot tell apart, by number: replicas share one, and with it their decisions.

use std::{collections::HashMap, sync::Arc};

use trilobite_netpol::{Labels, NamedPort};

/// All that a policy can select a pod by, but its namespace's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PodClass {
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) named_ports: Vec<NamedPort>,
    pub(super) node: String,
}

/// A number is given once: a decision about pods that are gone is never about others.
#[derive(Debug, Default)]
pub(super) struct PodClasses {
    numbers: HashMap<Arc<PodClass>, ClassUse>,
    next: u32,
}

#[derive(Debug)]
struct ClassUse {
    number: u32,
    pods: usize,
}

impl PodClasses {
    /// The class as it is kept, and its number, for one more pod.
    pub(super) fn acquire(&mut self, class: PodClass) -> (Arc<PodClass>, u32) {
        let class = match self.numbers.get_key_value(&class) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(class),
        };
        let next = &mut self.next;
        let used = self.numbers.entry(Arc::clone(&class)).or_insert_with(|| {
            *next = next.wrapping_add(1);
            ClassUse { number: *next, pods: 0 }
        });
        used.pods += 1;
        (class, used.number)
    }

    /// One pod less.
    pub(super) fn release(&mut self, class: &PodClass) {
        let Some(used) = self.numbers.get_mut(class) else { return };
        used.pods -= 1;
        if used.pods == 0 {
            self.numbers.remove(class);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}
