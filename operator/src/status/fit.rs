//! Makes a sentence short enough for a status without cutting off what to do next, which stands in its last clause. Pure.

use trilobite_crds::condition::cut;

/// Less than this of a clause says nothing.
const LEAST: usize = 24;

/// `message` behind the first of `leads` with which it fits into `room` characters, the longest lead first. Before the next
/// shorter lead is taken, what is said before the last clause is shortened.
pub(super) fn fit(leads: &[String], message: &str, room: usize) -> String {
    for lead in leads {
        let Some(left) = room.checked_sub(length(lead)) else { continue };
        if let Some(message) = shortened(message, left) {
            return format!("{lead}{message}");
        }
    }
    cut(&format!("{}{message}", leads.last().map(String::as_str).unwrap_or_default()), room)
}

/// The message in `room` characters with its last clause whole; none where that is not possible.
fn shortened(message: &str, room: usize) -> Option<String> {
    if length(message) <= room {
        return Some(message.into());
    }
    let (what, next) = message.rsplit_once("; ")?;
    let left = room.checked_sub(length(next) + 2).filter(|left| *left >= LEAST)?;
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
    fn what_fits_is_left_as_it_is() {
        assert_eq!(fit(&leads(&["on 2 nodes: "]), "no such file; make it", 40), "on 2 nodes: no such file; make it");
    }

    #[test]
    fn what_is_said_first_is_shortened_before_what_to_do_next() {
        let message = "the kernel refused 67108864 bytes for the map of flows; lower memoryBudgetBytes";
        assert_eq!(
            fit(&leads(&["on 2 nodes: "]), message, 64),
            "on 2 nodes: the kernel refused 6710886…; lower memoryBudgetBytes"
        );
    }

    #[test]
    fn a_lead_that_leaves_no_room_gives_way_to_a_shorter_one() {
        let message = "the kernel refused 67108864 bytes for the map of flows; lower memoryBudgetBytes";
        let said = fit(&leads(&["on 2 nodes (kernel 6.12.0-custom), as reef-1: ", "on 2 nodes: "]), message, 64);
        assert!(said.starts_with("on 2 nodes: the kernel") && said.ends_with("; lower memoryBudgetBytes"), "{said}");
    }

    #[test]
    fn whatever_it_is_given_it_is_never_longer_than_there_is_room() {
        for message in ["é".repeat(300), format!("a; {}", "b".repeat(300)), "; ".repeat(200), String::new()] {
            for lead in [Vec::new(), leads(&["", "x"]), leads(&[&"y".repeat(500)])] {
                assert!(length(&fit(&lead, &message, 200)) <= 200, "{message}");
            }
        }
    }
}
