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

/// The bytes that a line stands for. `token` answers what `@n` is; a token not seen yet is 0.
pub(crate) fn bytes_of(text: &str, key: &str, token: impl Fn(usize) -> Option<u64>) -> Vec<u8> {
    unescaped(&text.replace("$k", key), &token)
}

fn unescaped(text: &str, token: &dyn Fn(usize) -> Option<u64>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '\\' => escape(rest, &mut out),
            '{' => repeat(rest, &mut out, token),
            '@' => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                let number = rest[1..=digits].parse().unwrap_or(0);
                out.extend(token(number).unwrap_or(0).to_string().bytes());
                1 + digits
            }
            _ => {
                out.extend(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    out
}

fn escape(rest: &str, out: &mut Vec<u8>) -> usize {
    let byte = |byte: u8, out: &mut Vec<u8>| {
        out.push(byte);
        2
    };
    match rest.as_bytes().get(1) {
        Some(b'r') => byte(b'\r', out),
        Some(b'n') => byte(b'\n', out),
        Some(b't') => byte(b'\t', out),
        Some(b'0') => byte(0, out),
        Some(b'x') => {
            let number = rest.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            out.push(number.expect("\\x is followed by two hexadecimal digits"));
            4
        }
        _ => byte(b'\\', out),
    }
}

/// `{text*count}`; any other brace stands for itself.
fn repeat(rest: &str, out: &mut Vec<u8>, token: &dyn Fn(usize) -> Option<u64>) -> usize {
    let inside = rest[1..].split('}').next().unwrap_or_default();
    let parts = inside.rsplit_once('*').and_then(|(text, count)| Some((text, count.parse::<usize>().ok()?)));
    match parts {
        Some((text, count)) => {
            out.extend(unescaped(text, token).repeat(count));
            inside.len() + 2
        }
        None => {
            out.push(b'{');
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Script, Step, bytes_of};
    use std::time::Duration;

    #[test]
    fn lines_become_bytes() {
        let bytes = |text: &str| bytes_of(text, "key7", |number| (number == 1).then_some(99));
        assert_eq!(bytes(r"get $k\r\n"), b"get key7\r\n");
        assert_eq!(bytes(r"cas $kb 0 0 2 @1\x00\\{ab*3}{\r\n*2}{"), b"cas key7b 0 0 2 99\0\\ababab\r\n\r\n{");
        assert_eq!(bytes("@2"), b"0");
    }

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
