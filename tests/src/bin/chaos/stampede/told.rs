//! What the processes of a stampede told.

use std::collections::BTreeMap;

use evanesce_tests::witness::Starved;

/// One call of the loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) round: u64,
    pub(crate) id: String,
    pub(crate) begun: u64,
    /// None when its process did not live to see it.
    pub(crate) ended: Option<u64>,
}

/// One call of somebody who wants the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) round: u64,
    pub(crate) wave: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// Of which load, or what failed.
    pub(crate) value: String,
}

/// Of all processes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// In the order in which they began.
    pub(crate) loads: Vec<Load>,
    pub(crate) calls: Vec<Call>,
    pub(crate) starved: Starved,
}

impl Told {
    /// From what was printed.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a str>, mut starved: Vec<(u64, u64)>) -> Self {
        let (mut loads, mut calls) = (BTreeMap::new(), Vec::new());
        for line in lines {
            let words: Vec<&str> = line.splitn(6, ' ').collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            let text = |at: usize| words.get(at).map(|word| (*word).to_owned()).unwrap_or_default();
            match words[0] {
                kind @ ("load" | "loaded") => {
                    let ended = (kind == "loaded").then(|| number(4));
                    let load = Load { round: number(1), id: text(2), begun: number(3), ended };
                    loads.insert((load.begun, load.id.clone()), load);
                }
                "call" => calls.push(Call {
                    round: number(1),
                    wave: usize::try_from(number(2)).unwrap_or(usize::MAX),
                    begun: number(3),
                    ended: number(4),
                    value: words.get(5).copied().unwrap_or_default().to_owned(),
                }),
                "starved" => starved.push((number(1), number(2))),
                _ => {}
            }
        }
        Self { loads: loads.into_values().collect(), calls, starved: Starved::seen_by(starved) }
    }

    /// Those of a round.
    pub(crate) fn loads_of(&self, round: u64) -> Vec<&Load> {
        self.loads.iter().filter(|load| load.round == round).collect()
    }

    /// For how long a caller waited while the machine ran.
    pub(crate) fn waited(&self, call: &Call) -> u64 {
        (call.ended - call.begun).saturating_sub(self.starved.lost_between(call.begun, call.ended))
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Load, Told};

    #[test]
    fn loads_and_calls_are_read_back() {
        let lines = [
            "ready",
            "load 1 p0-3 50",
            "load 1 p1-0 40",
            "loaded 1 p0-3 50 250",
            "call 1 0 45 251 p0-3",
            "end",
        ];
        let told = Told::parse(lines.into_iter(), vec![(100, 110)]);
        let load = |id: &str, begun, ended| Load { round: 1, id: id.to_owned(), begun, ended };
        assert_eq!(told.loads, [load("p1-0", 40, None), load("p0-3", 50, Some(250))]);
        let call = Call { round: 1, wave: 0, begun: 45, ended: 251, value: "p0-3".to_owned() };
        assert_eq!(told.waited(&call), 196);
        assert_eq!(told.calls, [call]);
    }

    #[test]
    fn failure_is_a_value_of_words() {
        let told = Told::parse(["call 0 0 1 2 failed: no zone answered"].into_iter(), Vec::new());
        assert_eq!(told.calls[0].value, "failed: no zone answered");
    }
}
