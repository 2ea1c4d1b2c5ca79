//! The words of the label's value: `http.pgsql.15m`. Pure.

use std::collections::BTreeSet;

use trilobite_crds::{
    Reason, RequestProtocol,
    app_profile::{DEFAULT_PROFILE_SECONDS, MAX_PROFILE_SECONDS},
};

const CPU: &str = "cpu";
/// Every protocol that is supported.
const ALL: &str = "all";

/// What the words ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) cpu: bool,
    pub(super) requests: Option<RequestedProtocols>,
    pub(super) seconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestedProtocols {
    All,
    These(BTreeSet<RequestProtocol>),
}

impl RequestedProtocols {
    /// As a spec has them: none for all.
    pub(super) fn to_list(&self) -> Vec<RequestProtocol> {
        match self {
            Self::All => Vec::new(),
            Self::These(protocols) => protocols.iter().copied().collect(),
        }
    }
}

/// What is wrong with a label's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongWord {
    #[error("{0:?} is not known; known are {known}, and one time, e.g. 15m", known = known_words())]
    Unknown(String),
    #[error("{0} is not supported yet; supported are {supported}", supported = supported_words())]
    NotSupported(RequestProtocol),
    #[error("{0:?} is not from 1s to {most}h", most = MAX_PROFILE_SECONDS / 3600)]
    Time(String),
    #[error("{0:?} is a second time; one is possible")]
    SecondTime(String),
    #[error("it names a time and nothing to profile; add {supported}", supported = supported_words())]
    Nothing,
}

impl WrongWord {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NotSupported(_) => Reason::Unsupported,
            Self::Unknown(_) | Self::Time(_) | Self::SecondTime(_) | Self::Nothing => Reason::InvalidSpec,
        }
    }
}

fn supported_words() -> String {
    format!("{CPU}, {ALL}, {}", RequestProtocol::supported_words())
}

fn known_words() -> String {
    let others = RequestProtocol::ALL.into_iter().filter(|protocol| !protocol.is_supported());
    let others: Vec<_> = others.map(RequestProtocol::as_str).collect();
    format!("{} (not supported yet: {})", supported_words(), others.join(", "))
}

/// Words in any order: `cpu`, `all`, protocols, and at most one time.
pub(super) fn parse(label: &str) -> Result<Words, WrongWord> {
    let (mut cpu, mut all, mut protocols, mut seconds) = (false, false, BTreeSet::new(), None);
    for word in label.split('.') {
        match word {
            CPU => cpu = true,
            ALL => all = true,
            _ => match (word.parse::<RequestProtocol>(), time(word)) {
                (Ok(protocol), _) if protocol.is_supported() => _ = protocols.insert(protocol),
                (Ok(protocol), _) => return Err(WrongWord::NotSupported(protocol)),
                (Err(_), None) => return Err(WrongWord::Unknown(word.into())),
                (Err(_), Some(_)) if seconds.is_some() => return Err(WrongWord::SecondTime(word.into())),
                (Err(_), Some(time)) if !(1..=MAX_PROFILE_SECONDS).contains(&time) => {
                    return Err(WrongWord::Time(word.into()));
                }
                (Err(_), Some(time)) => seconds = Some(time),
            },
        }
    }
    let requests = match (all, protocols.is_empty()) {
        (true, _) => Some(RequestedProtocols::All),
        (false, false) => Some(RequestedProtocols::These(protocols)),
        (false, true) => None,
    };
    if !cpu && requests.is_none() {
        return Err(WrongWord::Nothing);
    }
    Ok(Words { cpu, requests, seconds: seconds.unwrap_or(DEFAULT_PROFILE_SECONDS) })
}

/// The seconds of `90s`, `15m` or `2h`; none if it is no time.
fn time(word: &str) -> Option<i64> {
    let unit = match word.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let number = &word[..word.len() - 1];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn these(protocols: &[RequestProtocol]) -> Option<RequestedProtocols> {
        Some(RequestedProtocols::These(protocols.iter().copied().collect()))
    }

    #[test]
    fn words_are_read_in_any_order() {
        use RequestProtocol::{Http, Pgsql};
        for (label, cpu, requests, seconds) in [
            ("cpu", true, None, 300),
            ("http.pgsql.15m", false, these(&[Http, Pgsql]), 900),
            ("15m.pgsql.http.pgsql", false, these(&[Http, Pgsql]), 900),
            ("90s.cpu.http", true, these(&[Http]), 90),
            ("all.2h", false, Some(RequestedProtocols::All), 7200),
            ("http.all", false, Some(RequestedProtocols::All), 300),
            ("cpu.24h", true, None, 86_400),
        ] {
            assert_eq!(parse(label), Ok(Words { cpu, requests, seconds }), "{label}");
        }
    }

    #[test]
    fn wrong_words_are_named_with_the_list() {
        let supported = supported_words();
        let unknown = format!("\"htp\" is not known; known are {}, and one time, e.g. 15m", known_words());
        assert!(unknown.contains("cpu, all, http, pgsql") && unknown.contains("(not supported yet: "), "{unknown}");
        for (label, message) in [
            ("http.htp", unknown.as_str()),
            ("mqtt.15m", &format!("mqtt is not supported yet; supported are {supported}")),
            ("http.15m.90s", "\"90s\" is a second time; one is possible"),
            ("http.0m", "\"0m\" is not from 1s to 24h"),
            ("http.25h", "\"25h\" is not from 1s to 24h"),
            ("http.99999999999999999999m", "\"99999999999999999999m\" is not from 1s to 24h"),
            ("15m", &format!("it names a time and nothing to profile; add {supported}")),
        ] {
            assert_eq!(parse(label).unwrap_err().to_string(), message, "{label}");
        }
        for label in ["", "http.", "HTTP", "m", "1.5m", "-1m", "1d"] {
            assert!(matches!(parse(label), Err(WrongWord::Unknown(_) | WrongWord::Nothing)), "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn every_label_has_an_answer(label in "\\PC{0,63}") {
            let _ = parse(&label);
        }
    }
}
