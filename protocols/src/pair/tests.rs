use super::*;

const SECOND: u64 = 1_000_000_000;

/// Requests are numbers, answers the number of their request: a pair of two numbers is a wrong one.
#[derive(Default)]
struct Play {
    time: u64,
}

impl Play {
    fn at(&mut self) -> Times {
        self.time += 1_000_000;
        Times { first: self.time, last: self.time }
    }

    fn ask(&mut self, pairs: &mut InOrder<u32, u32>, requests: impl IntoIterator<Item = u32>) {
        for request in requests {
            let at = self.at();
            pairs.ask(request, 0, at);
        }
    }

    fn answer(&mut self, pairs: &mut InOrder<u32, u32>, answers: impl IntoIterator<Item = u32>) {
        for answer in answers {
            let at = self.at();
            pairs.answer(answer, 0, at);
        }
    }
}

fn taken(pairs: &mut InOrder<u32, u32>) -> Vec<u32> {
    let pairs: Vec<(u32, u32)> = std::iter::from_fn(|| pairs.take_pair()).collect();
    assert!(pairs.iter().all(|(request, answer)| request == answer), "wrong pairs: {pairs:?}");
    pairs.into_iter().map(|(request, _)| request).collect()
}

#[test]
fn batches_pair_in_order() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=3);
    play.answer(&mut pairs, 1..=2);
    play.ask(&mut pairs, [4]);
    play.answer(&mut pairs, 3..=4);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 2, 3, 4], 0));
}

#[test]
fn lost_request_of_a_batch_costs_the_batch() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=2);
    play.answer(&mut pairs, 1..=2);
    pairs.requests_lost();
    play.ask(&mut pairs, 4..=6);
    play.answer(&mut pairs, 3..=6);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 2], 4));
    play.ask(&mut pairs, 7..=9);
    play.answer(&mut pairs, 7..=9);
    assert_eq!(taken(&mut pairs), [0; 0], "the turn is not proven before the next one");
    play.ask(&mut pairs, [10]);
    play.answer(&mut pairs, [10]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![7, 8, 9, 10], 4));
}

#[test]
fn requests_before_the_lost_one_keep_their_answers() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=2);
    pairs.requests_lost();
    play.ask(&mut pairs, [4]);
    play.answer(&mut pairs, 1..=4);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 2], 2));
}

#[test]
fn lost_answer_costs_what_waits() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=4);
    play.answer(&mut pairs, [1]);
    pairs.answers_lost();
    play.answer(&mut pairs, 3..=4);
    play.ask(&mut pairs, [5]);
    play.answer(&mut pairs, [5]);
    play.ask(&mut pairs, [6]);
    play.answer(&mut pairs, [6]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 5, 6], 3));
}

#[test]
fn client_that_overlaps_is_believed_after_a_pause() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=2);
    play.answer(&mut pairs, [1]);
    play.ask(&mut pairs, [3]);
    pairs.requests_lost();
    play.answer(&mut pairs, 2..=3);
    for request in 5..50 {
        play.ask(&mut pairs, [request]);
        play.answer(&mut pairs, [request - 1]);
    }
    assert_eq!(taken(&mut pairs), vec![1, 2, 3]);
    play.answer(&mut pairs, [49]);
    assert_eq!(pairs.lost(), 46);
    play.time += 11 * SECOND;
    play.ask(&mut pairs, 50..=51);
    play.answer(&mut pairs, 50..=51);
    play.ask(&mut pairs, [52]);
    play.answer(&mut pairs, [52]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![50, 51, 52], 46));
}

#[test]
fn answer_whose_loss_shows_late_is_no_overlap() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, 1..=2);
    play.answer(&mut pairs, [1]);
    play.ask(&mut pairs, [3]);
    pairs.answers_lost();
    play.answer(&mut pairs, [3]);
    play.ask(&mut pairs, [4]);
    play.answer(&mut pairs, [4]);
    play.ask(&mut pairs, [5]);
    play.answer(&mut pairs, [5]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 4, 5], 2));
}

#[test]
fn lost_request_and_lost_answer_do_not_make_up_for_each_other() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, [1]);
    play.answer(&mut pairs, [1]);
    pairs.requests_lost();
    play.ask(&mut pairs, 3..=4);
    play.answer(&mut pairs, 2..=3);
    play.ask(&mut pairs, [5]);
    // The loss of the fourth answer shows only now.
    pairs.answers_lost();
    play.answer(&mut pairs, [5]);
    for request in 6..=7 {
        play.ask(&mut pairs, [request]);
        play.answer(&mut pairs, [request]);
    }
    assert_eq!(taken(&mut pairs), vec![1, 6, 7]);
}

#[test]
fn joined_connection_shows_a_lone_request_at_once() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(true));
    play.answer(&mut pairs, [1]);
    play.ask(&mut pairs, [2]);
    play.answer(&mut pairs, [2]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![2], 1));
    play.ask(&mut pairs, [3]);
    play.answer(&mut pairs, [3]);
    assert_eq!(taken(&mut pairs), vec![3]);
}

#[test]
fn connection_joined_within_a_batch_waits_for_the_next() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(true));
    play.ask(&mut pairs, 40..=50);
    play.answer(&mut pairs, 1..=50);
    assert_eq!((taken(&mut pairs), pairs.lost()), (Vec::<u32>::new(), 50));
    play.ask(&mut pairs, 51..=52);
    play.answer(&mut pairs, 51..=52);
    play.ask(&mut pairs, [53]);
    play.answer(&mut pairs, [53]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![51, 52, 53], 50));
}

#[test]
fn answer_recorded_before_its_request_is_paired() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.ask(&mut pairs, [1]);
    play.answer(&mut pairs, 1..=2);
    play.ask(&mut pairs, 2..=3);
    play.answer(&mut pairs, [3]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 2, 3], 0));
}

#[test]
fn answer_long_before_any_request_is_no_early_one() {
    let (mut play, mut pairs) = (Play::default(), InOrder::new(false));
    play.answer(&mut pairs, [0]);
    play.time += SECOND;
    play.ask(&mut pairs, [1]);
    play.answer(&mut pairs, [1]);
    play.ask(&mut pairs, [2]);
    play.answer(&mut pairs, [2]);
    assert_eq!((taken(&mut pairs), pairs.lost()), (vec![1, 2], 1));
}

#[test]
fn too_many_waiting_requests_are_given_up() {
    let mut pairs = InOrder::new(false);
    let mut play = Play::default();
    let mut most = 0;
    for request in 0..100_000 {
        let at = play.at();
        pairs.ask(request, 1000, at);
        most = most.max(pairs.memory());
    }
    assert!(most <= WAITING_BYTES_MAX + (64 << 10), "{most}");
    play.answer(&mut pairs, 0..100_000);
    pairs.finish();
    assert_eq!((taken(&mut pairs), pairs.lost()), (Vec::<u32>::new(), 100_000));
}

#[test]
fn ids_pair_in_any_order_and_repetitions_are_one() {
    let mut pairs = ById::new();
    let at = |time| Times { first: time, last: time };
    for (id, time) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
        pairs.ask(id, (id, time), 0, at(time));
    }
    assert_eq!(pairs.answer(&3, at(5)), Some((3, 4)));
    assert_eq!(pairs.answer(&1, at(6)), Some((1, 1)));
    assert_eq!(pairs.answer(&1, at(7)), None);
    assert_eq!(pairs.lost(), 1);
    pairs.finish();
    assert_eq!((pairs.lost(), pairs.memory()), (2, 0));
}

#[test]
fn unanswered_ids_are_given_up_and_counted() {
    let mut pairs = ById::new();
    let at = |time| Times { first: time, last: time };
    for id in 0..1000u64 {
        pairs.ask(id, (), 0, at(id * SECOND));
        assert!(pairs.waiting.len() <= 11 && pairs.order.len() <= 11);
    }
    assert_eq!(pairs.lost(), 989);
    assert_eq!(pairs.answer(&5, at(1000 * SECOND)), None);
    assert_eq!(pairs.answer(&999, at(1000 * SECOND)), Some(()));
}
