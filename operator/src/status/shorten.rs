//! Shortens a message to the limit of a status field without cutting its last clause, which says what to do next. Pure.

use trilobite_crds::condition::cut;

/// A clause that is cut to fewer characters than this carries no information.
const MIN_CLAUSE: usize = 24;

/// `message` after the first of `leads`, longest first, with which it fits into `room` characters. The clauses before
/// the last one are shortened before a shorter lead is tried.
pub(super) fn shorten_to_fit(leads: &[String], message: &str, room: usize) -> String {
    for lead in leads {
        let Some(left) = room.checked_sub(length(lead)) else { continue };
        if let Some(message) = shorten_first_clauses(message, left) {
            return format!("{lead}{message}");
        }
    }
    cut(&format!("{}{message}", leads.last().map(String::as_str).unwrap_or_default()), room)
}

/// The message in `room` characters with its last clause whole; none if that is not possible.
fn shorten_first_clauses(message: &str, room: usize) -> Option<String> {
    if length(message) <= room {
        return Some(message.into());
    }
    let (what, next) = message.rsplit_once("; ")?;
    let left = room.checked_sub(length(next) + 2).filter(|left| *left >= MIN_CLAUSE)?;
    Some(format!("{}; {next}", cut(what, left)))
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(leads: &[&str]) -> Vec<String> {
        leads.iter().map(|lead| (*lead).to_owned()).collect()
    }

    #[test]
    fn a_message_that_fits_is_unchanged() {
        assert_eq!(
            shorten_to_fit(&leads(&["on 2 nodes: "]), "no such file; make it", 40),
            "on 2 nodes: no such file; make it"
        );
    }

    #[test]
    fn the_first_clause_is_shortened_before_the_next_step() {
        let message = "the kernel refused 67108864 bytes for the map of flows; lower memoryBudgetBytes";
        assert_eq!(
            shorten_to_fit(&leads(&["on 2 nodes: "]), message, 64),
            "on 2 nodes: the kernel refused 6710886…; lower memoryBudgetBytes"
        );
    }

    #[test]
    fn a_lead_that_leaves_no_room_gives_way_to_a_shorter_one() {
        let message = "the kernel refused 67108864 bytes for the map of flows; lower memoryBudgetBytes";
        let leads = leads(&["on 2 nodes (kernel 6.12.0-custom), e.g. reef-1: ", "on 2 nodes: "]);
        let text = shorten_to_fit(&leads, message, 64);
        assert!(text.starts_with("on 2 nodes: the kernel") && text.ends_with("; lower memoryBudgetBytes"), "{text}");
    }

    #[test]
    fn the_result_is_never_longer_than_the_room() {
        for message in ["é".repeat(300), format!("a; {}", "b".repeat(300)), "; ".repeat(200), String::new()] {
            for lead in [Vec::new(), leads(&["", "x"]), leads(&[&"y".repeat(500)])] {
                assert!(length(&shorten_to_fit(&lead, &message, 200)) <= 200, "{message}");
            }
        }
    }
}
