//! When the CA is replaced. A new one is trusted before it signs, and an old one until it expires, so that a rotation
//! breaks no connection.

use jiff::{SignedDuration, Timestamp};

use super::stored::{Authority, AuthorityError, CLOCK_SKEW, CaCertificate, LIFE, StoredAuthority};

/// A new CA is in the bundle for this long before it signs: agents read the bundle again by then.
const TRUSTED_BEFORE_USE: SignedDuration = SignedDuration::from_hours(1);

/// The CA as it has to be at `now`; none if it is as it has to be.
pub(crate) fn rotate(
    stored: Option<&StoredAuthority>,
    now: Timestamp,
) -> Result<Option<StoredAuthority>, AuthorityError> {
    let Some(stored) = stored.filter(|stored| is_valid(&stored.current.certificate, now)) else {
        // Whatever was signed before has expired too.
        return Ok(Some(StoredAuthority { current: Authority::generate(now)?, next: None, previous: Vec::new() }));
    };
    let mut rotated = stored.clone();
    rotated.previous.retain(|certificate| is_valid(certificate, now));
    let mut changed = rotated.previous.len() != stored.previous.len();
    match rotated.next.take() {
        Some(next) if age(&next.certificate, now) >= TRUSTED_BEFORE_USE => {
            let replaced = std::mem::replace(&mut rotated.current, next);
            rotated.previous.push(replaced.certificate);
            changed = true;
        }
        Some(next) => rotated.next = Some(next),
        None if age(&rotated.current.certificate, now) >= LIFE * 2 / 3 => {
            rotated.next = Some(Authority::generate(now)?);
            changed = true;
        }
        None => {}
    }
    Ok(changed.then_some(rotated))
}

fn is_valid(certificate: &CaCertificate, now: Timestamp) -> bool {
    (certificate.not_before..certificate.not_after).contains(&now)
}

/// Time since the certificate was made; its validity begins a little earlier.
fn age(certificate: &CaCertificate, now: Timestamp) -> SignedDuration {
    now.duration_since(certificate.not_before) - CLOCK_SKEW
}
