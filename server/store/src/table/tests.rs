//! The table beside a naive twin.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::chunks::{Owner, SLOTS};
use super::page::{ITEMS_MAX, Page, capacity, tag_in};
use super::*;

const SLAB: usize = 4096;

type Memory = Vec<u8>;

/// A table, and a map from places to orders that must agree with it.
struct Twins {
    table: Table<Memory>,
    orders: BTreeMap<u64, u64>,
    next_place: u64,
}

impl Twins {
    fn new(slab_bytes: usize) -> Self {
        Self { table: Table::new(slab_bytes), orders: BTreeMap::new(), next_place: 1 }
    }

    /// Inserts an item if there can be room; says where it lies.
    fn insert(&mut self, order: u64) -> Option<u64> {
        loop {
            match self.table.room(order) {
                Room::Ready => break,
                // Slabs come with rubbish in them.
                Room::Slab => self.table.give(vec![0xa5; SLAB]),
                Room::Never => return None,
            }
        }
        let place = self.next_place;
        self.next_place += 1;
        // The new item is in the map only afterwards: the table must not ask for it.
        self.table.insert(order, place, |place| self.orders[&place]);
        self.orders.insert(place, order);
        Some(place)
    }

    fn find(&self, place: u64) -> Option<Found> {
        self.table.find(self.orders[&place], |it| it == place)
    }

    fn remove(&mut self, place: u64) {
        let found = self.find(place).expect("it was inserted");
        self.table.remove(found);
        self.orders.remove(&place);
    }

    fn relocate(&mut self, place: u64) {
        let found = self.find(place).expect("it was inserted");
        let order = self.orders.remove(&place).expect("it was inserted");
        self.table.relocate(found, self.next_place);
        self.orders.insert(self.next_place, order);
        self.next_place += 1;
    }

    /// The place of one of the items, chosen by a number.
    fn any_place(&self, choice: u64) -> Option<u64> {
        let from = choice % self.next_place;
        self.orders.range(from..).chain(&self.orders).next().map(|(&place, _)| place)
    }

    fn spare(&mut self) {
        while let Some(slab) = self.table.spare() {
            assert_eq!(slab.len(), SLAB);
        }
    }

    /// Checks the whole table against the twin and against its own rules.
    fn check(&self) {
        assert_eq!(self.table.len(), self.orders.len());
        for &place in self.orders.keys() {
            assert_eq!(self.find(place).map(|found| found.place), Some(place));
        }
        self.check_pages();
        self.check_chunks();
    }

    fn check_pages(&self) {
        let (mut order, mut len, mut pages) = (Some(0), 0, 0);
        while let Some(start) = order {
            let page = self.table.directory.page(self.table.directory.number(start));
            assert_eq!(page.start(), start);
            len += page.items();
            pages += 1;
            self.check_page(page);
            order = page.end();
        }
        assert_eq!((len, pages), (self.table.len(), self.table.directory.pages()));
    }

    fn check_page(&self, page: &Page) {
        let slots: Vec<u64> = (0..page.slots()).map(|at| self.table.slot(page, at)).collect();
        let tags: Vec<u64> = slots.iter().filter(|&&slot| slot != 0).map(|&slot| tag_in(slot)).collect();
        assert_eq!(tags.len(), page.items());
        assert!(tags.is_sorted());
        for (at, &slot) in slots.iter().enumerate().filter(|(_, slot)| **slot != 0) {
            let home = page.home(tag_in(slot));
            assert!(home <= at && slots[home..at].iter().all(|&slot| slot != 0));
            assert_eq!(tag_in(slot), page.tag(self.orders[&page::place_in(slot)]));
        }
    }

    /// Each chunk in use has one owner, who names it.
    fn check_chunks(&self) {
        let mut used = self.table.ghosts.chunks();
        for (position, &number) in self.table.ghosts.numbers().iter().enumerate() {
            assert_eq!(self.table.chunks.owner(number), Owner::Ghosts(position as u32));
        }
        for number in 0..self.table.directory.pages() as u32 {
            for &chunk in self.table.directory.page(number).numbers() {
                assert_eq!(self.table.chunks.owner(chunk), Owner::Page(number));
                used += 1;
            }
        }
        assert_eq!(self.table.bytes(), used * SLOTS * 8);
    }

    /// All places, as a walk tells them that calls `between` after each step.
    fn walk(&mut self, mut between: impl FnMut(&mut Self)) -> Vec<u64> {
        let (mut places, mut order) = (Vec::new(), Some(0));
        while let Some(from) = order {
            order = self.table.page(from, &mut places);
            between(self);
        }
        places
    }
}

/// A well-mixed number for each number.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(mixed >> 32)
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Insert items of so many orders from this one on, spread by the run's pattern.
    Insert(u64, u16),
    /// Remove so many items, chosen by a number.
    Remove(u64, u16),
    Relocate(u64),
    Ghosts(u64, u16),
    GhostsClear,
    Spare,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u64>(), 1..400_u16).prop_map(|(from, count)| Op::Insert(from, count)),
        5 => (any::<u64>(), 1..400_u16).prop_map(|(from, count)| Op::Remove(from, count)),
        2 => any::<u64>().prop_map(Op::Relocate),
        1 => (any::<u64>(), 1..50_u16).prop_map(|(from, count)| Op::Ghosts(from, count)),
        1 => Just(Op::GhostsClear),
        2 => Just(Op::Spare),
    ]
}

/// How the orders of a run are made from numbers.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Uniform,
    /// Only so many different orders.
    Few(u64),
    /// All orders share so many first bits.
    Crowded(u32),
    /// One in four orders is always the same.
    Heavy,
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        2 => Just(Pattern::Uniform),
        1 => (1..40_u64).prop_map(Pattern::Few),
        1 => (1..64_u32).prop_map(Pattern::Crowded),
        1 => Just(Pattern::Heavy),
    ]
}

impl Pattern {
    fn order(self, number: u64) -> u64 {
        match self {
            Self::Uniform => mix(number),
            Self::Few(orders) => mix(number % orders),
            Self::Crowded(bits) => u64::MAX << (64 - bits) | mix(number) >> bits,
            Self::Heavy if number.is_multiple_of(4) => u64::MAX,
            Self::Heavy => mix(number),
        }
    }
}

impl Op {
    fn apply(self, twins: &mut Twins, pattern: Pattern) {
        match self {
            Self::Insert(from, count) => {
                for number in 0..u64::from(count) {
                    twins.insert(pattern.order(from.wrapping_add(number)));
                }
            }
            Self::Remove(from, count) => {
                for number in 0..u64::from(count) {
                    twins.any_place(mix(from ^ number)).into_iter().for_each(|place| twins.remove(place));
                }
            }
            Self::Relocate(choice) => {
                twins.any_place(choice).into_iter().for_each(|place| twins.relocate(place));
            }
            Self::Ghosts(from, count) => {
                for number in from..from.saturating_add(u64::from(count)) {
                    twins.table.ghost_insert(pattern.order(number), mix(number) as u32);
                }
            }
            Self::GhostsClear => twins.table.ghosts_clear(),
            Self::Spare => twins.spare(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_leave_it_equal_to_its_twin(pattern in pattern(), ops in vec(op(), 1..40)) {
        let mut twins = Twins::new(SLAB);
        for op in ops {
            op.apply(&mut twins, pattern);
            twins.check_chunks();
        }
        twins.check();
    }

    #[test]
    fn walk_meets_what_stays_once_whatever_happens_meanwhile(pattern in pattern(), ops in vec(op(), 1..40)) {
        let mut twins = Twins::new(SLAB);
        for number in 0..3_000 {
            twins.insert(pattern.order(mix(number)));
        }
        // Relocated items get new places, so the walk would seem to miss them.
        let mut ops = ops.into_iter().filter(|op| !matches!(op, Op::Relocate(_))).cycle().take(200);
        let before = twins.orders.clone();
        let walked = twins.walk(|twins| ops.next().into_iter().for_each(|op| op.apply(twins, pattern)));
        let mut met = BTreeMap::new();
        walked.iter().for_each(|&place| *met.entry(place).or_insert(0) += 1);
        prop_assert!(met.values().all(|&times| times == 1));
        let stayed = before.keys().filter(|place| twins.orders.contains_key(place));
        prop_assert!(stayed.into_iter().all(|place| met.contains_key(place)));
    }
}

#[test]
fn growth_to_hundreds_of_pages_and_back_returns_all_slabs() {
    let mut twins = Twins::new(SLAB);
    let count = 130_000;
    for number in 0..count {
        twins.insert(mix(number));
    }
    twins.check();
    assert!(twins.table.directory.pages() >= 250, "{} pages", twins.table.directory.pages());
    let per_item = twins.table.bytes() as f64 / twins.table.len() as f64;
    assert!(per_item < 9.6, "{per_item} bytes an item");

    let (mut all, mut last) = (twins.walk(|_| ()), None);
    assert_eq!(all.len(), count as usize);
    for &place in &all {
        let order = twins.orders[&place];
        assert!(last.is_none_or(|last| last <= order >> 40), "places come in order");
        last = Some(order >> 40);
    }
    all.sort_unstable_by_key(|&place| mix(place));
    for (number, place) in all.into_iter().enumerate() {
        twins.remove(place);
        twins.spare();
        if number % 60_000 == 0 {
            twins.check();
        }
    }
    twins.check();
    assert_eq!((twins.table.len(), twins.table.slabs(), twins.table.directory.pages()), (0, 0, 1));
}

#[test]
fn equal_orders_are_refused_when_a_page_is_full_of_them() {
    for order in [0, 1 << 50, u64::MAX] {
        let mut twins = Twins::new(SLAB);
        for number in 0..20_000 {
            twins.insert(mix(number));
        }
        let mut equal = Vec::new();
        while let Some(place) = twins.insert(order) {
            equal.push(place);
        }
        assert!((ITEMS_MAX / 2..=ITEMS_MAX).contains(&equal.len()), "{} equal orders", equal.len());
        assert!(twins.insert(!order).is_some(), "others find room");
        twins.check();
        for place in equal {
            twins.remove(place);
        }
        assert!(twins.insert(order).is_some());
        twins.check();
    }
}

#[test]
fn orders_with_equal_first_bits_do_not_blow_up_the_directory() {
    let mut twins = Twins::new(SLAB);
    let stored = (0..20_000).filter(|&number| twins.insert(mix(number) >> 20).is_some()).count();
    assert!(stored >= ITEMS_MAX, "{stored} stored");
    assert_eq!(twins.table.room(0), Room::Never);
    twins.check();
}

#[test]
fn table_without_slab_finds_nothing_and_asks_for_one() {
    let mut table = Table::<Memory>::new(SLAB);
    assert_eq!(table.room(7), Room::Slab);
    assert!(table.find(7, |_| true).is_none());
    table.prefetch(7, INSERT_LINES);
    assert_eq!(table.page(0, &mut Vec::new()), None);
    assert!(!table.ghost_take(7, 7));
    table.ghost_insert(7, 7);
    assert!(!table.ghost_knows(7, 7));
    assert!(table.spare().is_none() && table.clear().is_empty());
}

#[test]
fn clear_gives_back_all_slabs_and_leaves_it_usable() {
    let mut twins = Twins::new(SLAB);
    for number in 0..10_000 {
        twins.insert(mix(number));
        twins.table.ghost_insert(mix(number), number as u32);
    }
    let slabs = twins.table.slabs();
    assert_eq!(twins.table.clear().len(), slabs);
    twins.orders.clear();
    twins.check();
    twins.insert(7);
    twins.check();
}

#[test]
fn churn_at_constant_size_neither_grows_it_nor_shuffles_slabs() {
    let mut twins = Twins::new(SLAB);
    for number in 0..30_000 {
        twins.insert(mix(number));
    }
    let (mut given, mut taken) = (0, 0);
    for number in 30_000..120_000 {
        let slabs = twins.table.slabs();
        twins.insert(mix(number));
        given += twins.table.slabs() - slabs;
        twins.remove(number - 29_999);
        taken += usize::from(twins.table.spare().is_some());
    }
    twins.check();
    let per_item = twins.table.bytes() as f64 / twins.table.len() as f64;
    assert!(per_item < 9.9, "{per_item} bytes an item");
    assert!(given + taken < 60, "{given} slabs given, {taken} taken");
}

#[test]
fn ghosts_are_known_until_taken_and_the_oldest_fall_out() {
    let mut twins = Twins::new(SLAB);
    let hash = |number: u64| (mix(number), mix(number ^ 1 << 40) as u32);
    let count = 10_000;
    for number in 0..6 * count {
        let (order, _) = hash(number);
        twins.insert(order);
        if number >= count {
            let (order, ghost) = hash(number - count);
            twins.remove(number - count + 1);
            twins.table.ghost_insert(order, ghost);
        }
    }
    twins.check();
    let known = |from: u64, twins: &Twins| {
        let hashes = (from..from + 1_000).map(hash);
        hashes.filter(|&(order, ghost)| twins.table.ghost_knows(order, ghost)).count()
    };
    let last = 5 * count;
    assert!(known(last - 1_000, &twins) > 990, "{} of the youngest known", known(last - 1_000, &twins));
    assert!(known(last - 6_000, &twins) > 800, "{} of younger ones known", known(last - 6_000, &twins));
    assert!(known(0, &twins) < 10, "{} of the oldest known", known(0, &twins));
    let (order, ghost) = hash(last - 1);
    assert!(twins.table.ghost_take(order, ghost));
    assert!(!twins.table.ghost_take(order, ghost));
    twins.table.ghosts_clear();
    assert_eq!(known(last - 1_000, &twins), 0);
    twins.check();
}

#[test]
fn items_with_equal_tags_are_told_apart_by_the_caller() {
    let mut twins = Twins::new(SLAB);
    let places: Vec<u64> = (0..30).filter_map(|number| twins.insert(5 << 40 | number)).collect();
    assert_eq!(places.len(), 30);
    let mut asked = 0;
    assert!(
        twins
            .table
            .find(5 << 40, |_| {
                asked += 1;
                false
            })
            .is_none()
    );
    assert_eq!(asked, 30);
    twins.remove(places[13]);
    twins.check();
}

#[test]
fn page_record_is_one_cache_line_and_holds_all_it_says() {
    assert_eq!((size_of::<Page>(), align_of::<Page>()), (64, 64));
    assert!(ITEMS_MAX < usize::from(u16::MAX) && capacity(1) < SLOTS);
}
