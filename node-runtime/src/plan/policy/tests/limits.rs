//! The limits of plans are those of the kernel side.

use trilobite_node_ebpf::{
    AUTOMATON_CLASSES, FOLLOW_PATH_BYTES, HOOK_DIMENSIONS_MAX, HOOK_STEPS_MAX, HOOK_VALUES_MAX, HOOK_WORDS_MAX,
    PREFIX_BYTES, STRING_KEY_BYTES,
};

use crate::plan::policy::{
    Width,
    automaton::MAX_CLASSES,
    binaries::MAX_FOLLOWED_PATH,
    dimension::{MAX_AFFIX, MAX_DIMENSIONS, MAX_EXACT_KEY},
    value::{MAX_STEPS, MAX_VALUES},
};

#[test]
fn plans_have_the_limits_of_the_programs() {
    let pairs = [
        (MAX_VALUES, HOOK_VALUES_MAX),
        (MAX_DIMENSIONS, HOOK_DIMENSIONS_MAX),
        (MAX_STEPS, HOOK_STEPS_MAX),
        (Width::Sixteen.words(), HOOK_WORDS_MAX),
        (MAX_AFFIX, PREFIX_BYTES),
        (MAX_EXACT_KEY, STRING_KEY_BYTES),
        (MAX_CLASSES, AUTOMATON_CLASSES),
        (MAX_FOLLOWED_PATH, FOLLOW_PATH_BYTES),
    ];
    for (planned, in_kernel) in pairs {
        assert_eq!(planned, in_kernel as usize);
    }
}
