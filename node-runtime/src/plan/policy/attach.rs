//! The ways to attach a hook on this kernel, and why others were passed over.

use super::{
    argument::MAX_ARGUMENTS,
    attach_point::{AttachMethod, AttachPoint, Attachment, PassedOver},
    kernel_view::Kernel,
};

/// How the functions of a hook are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    One,
    /// One of a list whose functions do not share a plan.
    OneOfList,
    /// So many functions share this plan.
    Shared(usize),
}

/// The ways in the order in which they are tried.
pub(super) fn attachment(point: &AttachPoint, naming: Naming, kernel: &dyn Kernel) -> Attachment {
    let mut found = Attachment::default();
    match point {
        AttachPoint::RawTracepoint { .. } => {
            match kernel.has_tp_btf() {
                true => found.ways.push(AttachMethod::TpBtf),
                false => found.pass_over(AttachMethod::TpBtf, "this kernel refuses it".into()),
            }
            found.ways.push(AttachMethod::RawTp);
        }
        AttachPoint::Tracepoint { .. } => found.ways.push(AttachMethod::ClassicTp),
        AttachPoint::FunctionEntry { name } | AttachPoint::FunctionReturn { name } => {
            let (trampoline, probe) = if point.has_return() {
                (AttachMethod::Fexit, AttachMethod::Kretprobe)
            } else {
                (AttachMethod::Fentry, AttachMethod::Kprobe)
            };
            if let Naming::Shared(count) = naming {
                let why = format!("{count} functions share one program");
                found.pass_over(trampoline, why);
                found.ways.extend([AttachMethod::KprobeMulti, probe]);
                return found;
            }
            match trampoline_obstacle(name, kernel) {
                None => found.ways.push(trampoline),
                Some(why) => found.pass_over(trampoline, why),
            }
            if naming == Naming::OneOfList && kernel.has_kprobe_multi() {
                found.pass_over(AttachMethod::KprobeMulti, "the functions of its list have different plans".into());
            }
            found.ways.push(probe);
        }
    }
    found
}

impl Attachment {
    fn pass_over(&mut self, way: AttachMethod, why: String) {
        self.passed_over.push(PassedOver { way, why });
    }
}

/// Why a function cannot have a trampoline.
fn trampoline_obstacle(name: &str, kernel: &dyn Kernel) -> Option<String> {
    if !kernel.has_fentry() {
        return Some("this kernel refuses trampolines".into());
    }
    let Some(function) = kernel.function(name) else { return Some("BTF does not have the function".into()) };
    let count = function.parameters.len();
    if count > MAX_ARGUMENTS {
        return Some(format!("the function has {count} arguments, more than {MAX_ARGUMENTS} registers"));
    }
    let by_value = function.parameters.iter().find(|parameter| !parameter.r#type.fits_register());
    by_value.map(|parameter| format!("argument {} is passed by value", parameter.name))
}
