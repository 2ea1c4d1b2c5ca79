//! Which Debian mirror this machine uses, told from the addresses that its own `apt-get update` would ask. Asks nothing.

/// Where Debian's two archives are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) main: String,
    pub(crate) security: String,
}

impl Mirror {
    /// From the output of `apt-get update --print-uris`: the sources' forms (one line, deb822, mirror lists) are apt's business.
    ///
    /// Other vendors' archives use Debian's suite names too; but only Debian has `-security` and `-updates` beside them.
    pub(crate) fn from_uris(uris: &str) -> Option<Self> {
        let suites: Vec<(&str, &str)> = uris
            .lines()
            .filter_map(|line| line.strip_prefix('\'')?.split('\'').next()?.strip_suffix("/InRelease"))
            .filter_map(|address| address.split_once("/dists/"))
            .collect();
        let with = |end: &str| suites.iter().find(|(_, suite)| suite.ends_with(end)).map(|(base, _)| *base);
        let security = with("-security");
        let main = with("-updates").or_else(|| security?.strip_suffix("-security")).or_else(|| {
            let not_security =
                |(base, suite): &&(&str, &str)| !suite.ends_with("-security") && base.ends_with("/debian");
            suites.iter().find(not_security).map(|(base, _)| *base)
        })?;
        let security = security.map_or_else(|| format!("{main}-security"), str::to_owned);
        Some(Self { main: main.to_owned(), security })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(addresses: &[&str]) -> Option<Mirror> {
        let line = |address: &&str| format!("'{address}' some_file_name 0 \n");
        Mirror::from_uris(&addresses.iter().map(line).collect::<String>())
    }

    #[test]
    fn the_archives_are_told_from_other_vendors() {
        let mirror = printed(&[
            "https://vendor.example/linux/debian/dists/bookworm/InRelease",
            "http://mirror.example/debian/dists/bookworm/InRelease",
            "http://mirror.example/debian/dists/bookworm-updates/InRelease",
            "http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz",
            "http://other.example/debian-security/dists/bookworm-security/InRelease",
        ]);
        let (main, security) = ("http://mirror.example/debian".into(), "http://other.example/debian-security".into());
        assert_eq!(mirror, Some(Mirror { main, security }));
    }

    #[test]
    fn one_archive_tells_the_other() {
        let both = Some(Mirror {
            main: "http://m.example/debian".into(),
            security: "http://m.example/debian-security".into(),
        });
        assert_eq!(printed(&["http://m.example/debian-security/dists/trixie-security/InRelease"]), both);
        assert_eq!(printed(&["http://m.example/debian/dists/trixie/InRelease"]), both);
    }

    #[test]
    fn a_machine_without_debian_has_no_mirror() {
        assert_eq!(printed(&["http://vendor.example/apt/dists/stable/InRelease"]), None);
        assert_eq!(printed(&[]), None);
    }
}
