//! Parameters of a request, under Kubernetes' names and our own. Unknown ones are ignored, as the API server does.

use std::time::Duration;

use super::{FieldSelector, InvalidQuery, LabelSelector};

/// Most rows of a list.
pub const MAX_LIMIT: usize = 5_000;
const DEFAULT_LIMIT: usize = 500;
/// How long a list of events collects. The API server ends a list after 60 s.
const DEFAULT_COLLECTION: Duration = Duration::from_secs(2);
const LONGEST_COLLECTION: u64 = 50;
const LONGEST_HISTORY: u64 = 24 * 3600;
const LONGEST_TIMEOUT: u64 = 30 * 24 * 3600;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// By the labels of pods.
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    /// Most rows of a list; the latest ones for flows and requests.
    pub limit: usize,
    /// `sinceSeconds`: flows and requests of the past, so long ago.
    pub since: Option<Duration>,
    /// `slowerThan`: only requests that took at least so long.
    pub slower_than: Duration,
    /// `forSeconds`: how long a list of events collects.
    pub collect_for: Duration,
    /// `waitSeconds`: how long a result of a profile that still runs is waited for.
    pub wait_for: Duration,
    pub watch: bool,
    pub resource_version: ResourceVersion,
    pub allow_bookmarks: bool,
    /// `timeoutSeconds`: after which a watch ends.
    pub timeout: Option<Duration>,
    /// What rows of a table carry beside their cells.
    pub include_object: IncludeObject,
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceVersion {
    /// Unset or `0`.
    #[default]
    Now,
    /// Nanoseconds since 1970.
    After(u64),
}

/// `includeObject` of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl Parameters {
    /// Reads a query string; `fields` are those that the resource can be selected by.
    pub fn parse(query: &str, fields: &[&'static str]) -> Result<Self, InvalidQuery> {
        let mut parameters = Self {
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
            limit: DEFAULT_LIMIT,
            since: None,
            slower_than: Duration::ZERO,
            collect_for: DEFAULT_COLLECTION,
            wait_for: Duration::ZERO,
            watch: false,
            resource_version: ResourceVersion::Now,
            allow_bookmarks: false,
            timeout: None,
            include_object: IncludeObject::Metadata,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = &*value;
            match &*name {
                "labelSelector" => parameters.labels = LabelSelector::parse(value)?,
                "fieldSelector" => parameters.fields = FieldSelector::parse(value, fields)?,
                // 0 and unset are the same to Kubernetes' clients.
                "limit" => match number("limit", value, i64::MAX.unsigned_abs())? {
                    0 => {}
                    limit => parameters.limit = usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
                },
                "sinceSeconds" => parameters.since = Some(seconds("sinceSeconds", value, LONGEST_HISTORY)?),
                "slowerThan" => parameters.slower_than = duration("slowerThan", value)?,
                "forSeconds" => parameters.collect_for = seconds("forSeconds", value, LONGEST_COLLECTION)?,
                "waitSeconds" => parameters.wait_for = seconds("waitSeconds", value, LONGEST_COLLECTION)?,
                "timeoutSeconds" => match seconds("timeoutSeconds", value, LONGEST_TIMEOUT)? {
                    Duration::ZERO => {}
                    timeout => parameters.timeout = Some(timeout),
                },
                "watch" => parameters.watch = boolean("watch", value)?,
                "allowWatchBookmarks" => parameters.allow_bookmarks = boolean("allowWatchBookmarks", value)?,
                "resourceVersion" => parameters.resource_version = resource_version(value)?,
                "includeObject" => parameters.include_object = include_object(value)?,
                // Clients that ask for it fall back to a list when it is refused.
                "sendInitialEvents" if boolean("sendInitialEvents", value)? => {
                    return Err(InvalidQuery::new("sendInitialEvents", "is not supported: list first, then watch"));
                }
                "continue" if !value.is_empty() => {
                    return Err(InvalidQuery::new("continue", "lists are not paged: raise limit, or set sinceSeconds"));
                }
                _ => {}
            }
        }
        Ok(parameters)
    }
}

fn number(parameter: &'static str, value: &str, most: u64) -> Result<u64, InvalidQuery> {
    let number = if value.is_empty() { Ok(0) } else { value.parse::<u64>() };
    number.ok().filter(|number| *number <= most).ok_or_else(|| {
        let bound = if most < i64::MAX.unsigned_abs() { format!(" from 0 to {most}") } else { String::new() };
        InvalidQuery::new(parameter, format!("{value:?} is not a number{bound}"))
    })
}

fn seconds(parameter: &'static str, value: &str, most: u64) -> Result<Duration, InvalidQuery> {
    number(parameter, value, most).map(Duration::from_secs)
}

/// `100ms`, `1.5s`; without a unit seconds.
fn duration(parameter: &'static str, value: &str) -> Result<Duration, InvalidQuery> {
    let digits = value.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => f64::NAN,
    };
    let parsed = if value.is_empty() { Ok(0.0) } else { number.parse::<f64>() };
    let parsed = parsed.ok().and_then(|number| Duration::try_from_secs_f64(number * seconds).ok());
    let is_known = |time: &Duration| time.as_secs() <= LONGEST_HISTORY;
    parsed
        .filter(is_known)
        .ok_or_else(|| InvalidQuery::new(parameter, format!("{value:?} is not a time such as 100ms, 1.5s or 2m")))
}

fn boolean(parameter: &'static str, value: &str) -> Result<bool, InvalidQuery> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(InvalidQuery::new(parameter, format!("{value:?} is neither true nor false"))),
    }
}

fn resource_version(value: &str) -> Result<ResourceVersion, InvalidQuery> {
    match number("resourceVersion", value, i64::MAX.unsigned_abs())? {
        0 => Ok(ResourceVersion::Now),
        position => Ok(ResourceVersion::After(position)),
    }
}

fn include_object(value: &str) -> Result<IncludeObject, InvalidQuery> {
    match value {
        "None" => Ok(IncludeObject::None),
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        _ => Err(InvalidQuery::new("includeObject", format!("{value:?} is none of None, Metadata, Object"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> Result<Parameters, String> {
        Parameters::parse(query, &["pod"]).map_err(|error| error.to_string())
    }

    #[test]
    fn selectors_are_decoded() {
        let read = parse("labelSelector=app+in+%28a%2Cb%29&fieldSelector=pod%3Dcart-7&limit=10&watch=1").unwrap();
        assert_eq!(read.labels.to_string(), "app in (a,b)");
        assert_eq!(read.fields.requirements[0].value, "cart-7");
        assert_eq!((read.limit, read.watch), (10, true));
    }

    #[test]
    fn kubectl_defaults_are_understood() {
        let read =
            parse("limit=500&pretty=true&resourceVersion=0&resourceVersionMatch=x&includeObject=Object").unwrap();
        assert_eq!((read.limit, read.resource_version), (500, ResourceVersion::Now));
        assert_eq!(read.include_object, IncludeObject::Object);
        let read = parse("limit=0&resourceVersion=1732972345123456789&timeoutSeconds=0&continue=").unwrap();
        assert_eq!(read.resource_version, ResourceVersion::After(1_732_972_345_123_456_789));
        assert_eq!((read.limit, read.timeout), (DEFAULT_LIMIT, None));
        assert_eq!(parse("limit=9999999").unwrap().limit, MAX_LIMIT);
    }

    #[test]
    fn times_have_units_and_fractions() {
        for (text, microseconds) in
            [("100ms", 100_000), ("1.5s", 1_500_000), ("250us", 250), ("2m", 120_000_000), ("3", 3_000_000), ("", 0)]
        {
            let parsed = parse(&format!("slowerThan={text}")).unwrap().slower_than;
            assert_eq!(parsed, Duration::from_micros(microseconds), "{text}");
        }
        for text in ["ms", "1h", "1.2.3s", "99999999999999999999s", "1e9s", "90000s"] {
            assert!(parse(&format!("slowerThan={text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_their_parameter() {
        for (query, text) in [
            ("limit=ten", "limit: \"ten\" is not a number"),
            ("limit=-1", "limit: \"-1\" is not a number"),
            ("forSeconds=51", "forSeconds: \"51\" is not a number from 0 to 50"),
            ("slowerThan=fast", "slowerThan: \"fast\" is not a time such as 100ms, 1.5s or 2m"),
            ("slowerThan=-1s", "slowerThan: \"-1s\" is not a time such as 100ms, 1.5s or 2m"),
            ("watch=yes", "watch: \"yes\" is neither true nor false"),
            ("resourceVersion=abc", "resourceVersion: \"abc\" is not a number"),
            ("sendInitialEvents=true", "sendInitialEvents: is not supported: list first, then watch"),
        ] {
            assert_eq!(parse(query).unwrap_err(), text);
        }
        assert!(parse("continue=x").unwrap_err().starts_with("continue: "));
        assert!(parse("fieldSelector=x%3D1").unwrap_err().starts_with("fieldSelector: "));
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_or_refused(
            query in "((limit|watch|resourceVersion|fieldSelector|labelSelector|forSeconds)=[a-c0-9%=!,()+-]{0,12}&?){0,4}|\\PC{0,60}",
        ) {
            let _ = Parameters::parse(&query, &["pod"]);
        }
    }
}
