//! Transcript files: what is sent, step by step. What comes back is compared between servers, not written down.
//!
//! ```text
//! applies node gateway           who this file is for, besides stock memcached
//! # a comment
//! case set then get              a case: its own connection, its own keys ($k becomes one of its own)
//! > set $k 5 0 2\r\nhi\r\n       sent, with a fence behind it; all that comes back is one result
//! >> set $kb 0 0 2\r\n           sent without a fence: part of what the next `>` sends
//! > cas $k 5 0 2 @1\r\nhi\r\n    @1 is the first CAS token that this server showed in this case
//! > set $k 0 0 9 {x*9}\r\n       {text*count} repeats; \r \n \t \0 \\ \xNN as usual
//! close                          our side of the connection ends; what still comes is the result
//! fresh                          a new connection
//! wait 1.5                       seconds pass
//! stats: name name               which of the names `stats` shows
//! stats slabs: name name         the same of `stats slabs`
//! count get_hits get_misses      how far these counters of `stats` went since the last count
//! only node                      this case is not for the gateway
//! differs node: why              a known difference, with its reason; a failure once it no longer differs
//! ```

use std::time::Duration;

use anyhow::{Context, bail};

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Who it is for, besides stock memcached.
    pub(crate) applies: Vec<String>,
    /// Who answers otherwise, and why that stays.
    pub(crate) differs: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Send; fenced or not.
    Send {
        text: String,
        fenced: bool,
    },
    Close,
    Fresh,
    Wait(Duration),
    /// Which names a `stats` shows.
    Stats {
        argument: String,
        names: Vec<String>,
    },
    /// Differences of counters.
    Count(Vec<String>),
}

impl Script {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When a line is none of the above, with its number.
    pub(crate) fn parse(name: &str, text: &str) -> anyhow::Result<Script> {
        let mut script = Script { name: name.to_owned(), cases: Vec::new() };
        let mut applies: Vec<String> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words = || rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let place = || format!("{name}:{}", at + 1);
            match (word, script.cases.last_mut()) {
                ("" | "#", _) => {}
                ("applies", _) => applies = words(),
                ("case", _) => {
                    script.cases.push(Case::new(rest, &applies));
                }
                (_, None) => bail!("{}: a step before the first case", place()),
                ("only", Some(case)) => case.applies = words(),
                ("differs", Some(case)) => case.differs(rest).with_context(place)?,
                (_, Some(case)) => case.steps.push(Step::parse(word, rest).with_context(place)?),
            }
        }
        Ok(script)
    }

    /// Whether some case is for this server.
    pub(crate) fn applies_to(&self, server: &str) -> bool {
        self.cases.iter().any(|case| case.applies_to(server))
    }
}

impl Case {
    fn new(name: &str, applies: &[String]) -> Case {
        Case { name: name.to_owned(), applies: applies.to_vec(), differs: Vec::new(), steps: Vec::new() }
    }

    fn differs(&mut self, rest: &str) -> anyhow::Result<()> {
        let (servers, reason) = rest.split_once(": ").context("no reason: differs server: reason")?;
        self.differs.extend(servers.split_whitespace().map(|server| (server.to_owned(), reason.to_owned())));
        Ok(())
    }

    /// Why a server is known to answer otherwise.
    pub(crate) fn known_difference(&self, server: &str) -> Option<&str> {
        self.differs.iter().find(|(name, _)| name == server).map(|(_, reason)| reason.as_str())
    }

    /// Whether it is for this server.
    pub(crate) fn applies_to(&self, server: &str) -> bool {
        server == crate::STOCK || self.applies.iter().any(|name| name == server)
    }
}

impl Step {
    fn parse(word: &str, rest: &str) -> anyhow::Result<Step> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Ok(match word {
            ">" | ">>" => Step::Send { text: rest.to_owned(), fenced: word == ">" },
            "close" => Step::Close,
            "fresh" => Step::Fresh,
            "wait" => Step::Wait(Duration::from_secs_f64(rest.parse().context("not a number of seconds")?)),
            "count" => Step::Count(words(rest)),
            "stats:" => Step::Stats { argument: String::new(), names: words(rest) },
            "stats" => {
                let (argument, names) = rest.split_once(':').context("no names: stats argument: names")?;
                Step::Stats { argument: argument.trim().to_owned(), names: words(names) }
            }
            _ => bail!("unknown step {word}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Script, Step};
    use std::time::Duration;

    #[test]
    fn file_becomes_cases_for_those_it_applies_to() {
        let text = "applies node gateway\n\n# note\ncase one\n> a\n>> b\nwait 1.5\ncase two\nonly node\nstats: pid time\n";
        let script = Script::parse("x", text).expect("parses");
        let [one, two] = &script.cases[..] else { panic!("two cases") };
        assert_eq!(one.steps[1], Step::Send { text: "b".to_owned(), fenced: false });
        assert_eq!(one.steps[2], Step::Wait(Duration::from_millis(1500)));
        assert!(one.applies_to("gateway") && !two.applies_to("gateway") && two.applies_to("node"));
        assert!(two.applies_to(crate::STOCK));
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        for text in [
            "> early\n",
            "case a\nsend x\n",
            "case a\ndiffers node\n",
            "case a\nwait long\n",
            "case a\nstats pid\n",
        ] {
            assert!(Script::parse("x", text).is_err(), "{text}");
        }
    }
}
