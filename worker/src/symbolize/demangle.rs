//! Names of functions as their authors wrote them. Only a name with the mark of a mangling is changed: blazesym's own demangler also
//! takes C's short names for types of C++, and calls a function `a` "signed char".

/// How mangled names of C++ begin; the second on systems that add an underscore.
const CPP_MARKS: [&str; 2] = ["_Z", "__Z"];

pub(super) fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        // Without the hash.
        return format!("{rust:#}");
    }
    if CPP_MARKS.iter().any(|mark| name.starts_with(mark))
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
        && let Ok(cpp) = symbol.demangle()
    {
        return cpp;
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mangled_names_are_demangled() {
        for (mangled, name) in [
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_ZN4cart5priceEi", "cart::price(int)"),
        ] {
            assert_eq!(demangle(mangled), name);
        }
    }

    #[test]
    fn short_names_of_c_are_no_types_of_cpp() {
        for name in ["a", "b", "f", "v", "i", "main", "St", "_start", "main.main"] {
            assert_eq!(demangle(name), name);
        }
    }

    proptest! {
        #[test]
        fn any_name_has_a_demangled_form(name in "(_Z|_R|__Z)?[A-Za-z0-9_.$]{0,24}") {
            let _ = demangle(&name);
        }
    }
}
