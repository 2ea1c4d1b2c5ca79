//! Shortens a message to the limit of a status field. Its first clause quotes foreign text; the clauses after it are our own
//! advice and are not cut. Pure.

use trilobite_crds::condition::cut;

/// A clause that is cut to fewer characters than this carries no information.
const MIN_CLAUSE: usize = 24;

/// `message` after the first of `leads`, longest first, with which it fits into `room` characters as a whole. If it fits
/// with none, it is shortened after the last of them, or after none where that leaves too little room.
pub(super) fn shorten_to_fit(leads: &[String], message: &str, room: usize) -> String {
    let whole = leads.iter().map(|lead| format!("{lead}{message}")).find(|text| length(text) <= room);
    if let Some(text) = whole {
        return text;
    }
    let last = leads.last().map(String::as_str).unwrap_or_default();
    let shortened = [last, ""].iter().find_map(|lead| {
        let left = room.checked_sub(length(lead))?;
        shorten_first_clause(message, left).map(|message| format!("{lead}{message}"))
    });
    shortened.unwrap_or_else(|| cut(&format!("{last}{message}"), room))
}

/// The message in `room` characters with as many of its last clauses whole as possible; none if that is not possible.
fn shorten_first_clause(message: &str, room: usize) -> Option<String> {
    if length(message) <= room {
        return Some(message.into());
    }
    message.match_indices("; ").find_map(|(end, _)| {
        let (what, next) = message.split_at(end);
        let left = room.checked_sub(length(next)).filter(|left| *left >= MIN_CLAUSE)?;
        Some(format!("{}{next}", cut(what, left)))
    })
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
    fn a_shorter_lead_is_taken_before_the_message_is_cut() {
        let message = "the kernel refused 67108864 bytes for the map of flows; lower memoryBudgetBytes";
        let leads = leads(&["on 2 nodes (kernel 6.12.0-custom), e.g. reef-1: ", "on 2 nodes: "]);
        assert_eq!(shorten_to_fit(&leads, message, 100), format!("on 2 nodes: {message}"));
        let text = shorten_to_fit(&leads, message, 64);
        assert!(text.starts_with("on 2 nodes: the kernel") && text.ends_with("; lower memoryBudgetBytes"), "{text}");
    }

    #[test]
    fn every_clause_of_advice_stays_whole() {
        let message = "tracepoint syscalls/sys_enter_openat: __filename_val is not visible; use filename, index 4; \
                       compare args[].index with the format file";
        let text = shorten_to_fit(&leads(&["on 2 nodes: "]), message, 120);
        assert!(text.ends_with("…; use filename, index 4; compare args[].index with the format file"), "{text}");
        assert!(text.starts_with("on 2 nodes: "), "{text}");
    }

    #[test]
    fn advice_is_worth_more_than_the_lead() {
        let (what, next) = ("w".repeat(40), "n".repeat(60));
        let text = shorten_to_fit(&leads(&["a lead of 20 letters"]), &format!("{what}; {next}"), 90);
        assert!(text.starts_with("www") && text.ends_with(&next), "{text}");
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
