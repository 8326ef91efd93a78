//! How lists grow that hold something of each label set or path.
//!
//! By a quarter: such a list is the largest thing in a worker's memory, and one
//! that doubles is up to half empty for ever.

/// Least elements for which there is new room.
const LEAST: usize = 16;

/// Makes room for `more` elements at the end of a list.
pub(super) fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 4).max(LEAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_fifth_of_a_long_list_is_empty_and_it_seldom_moves() {
        let mut list: Vec<u64> = Vec::new();
        let mut moves = 0;
        for number in 0..5_000 {
            let before = list.capacity();
            make_room(&mut list, 1);
            list.push(number);
            moves += usize::from(list.capacity() != before);
            let spare = list.capacity() - list.len();
            assert!(5 * spare <= list.capacity().max(5 * LEAST), "{number}");
        }
        assert!(moves < 30, "{moves}");
    }
}
