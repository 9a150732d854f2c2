//! Runs transcripts against a server and compares what servers said.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};

use evanesce_tests::{Raw, Received, bytes_of, pause, shown};

use crate::normal::{Tokens, normal};
use crate::script::{Case, Script, Step};

/// A server and its name in `applies`.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

/// What a server said in one case, step by step.
pub(crate) type Said = Vec<String>;

/// What a server said, by file and case.
pub(crate) type Answers = HashMap<(String, String), Said>;

/// Runs every case that is for the server.
///
/// # Errors
/// When the server cannot be reached any more.
pub(crate) fn run_all(server: &Server, scripts: &[Script], prefix: &str) -> anyhow::Result<Answers> {
    let mut said = HashMap::new();
    for script in scripts.iter().filter(|script| script.applies_to(server.name)) {
        for case in script.cases.iter().filter(|case| case.applies_to(server.name)) {
            said.insert((script.name.clone(), case.name.clone()), run_case(server, script, case, prefix)?);
        }
    }
    Ok(said)
}

fn run_case(server: &Server, script: &Script, case: &Case, prefix: &str) -> anyhow::Result<Said> {
    let number = script.cases.iter().position(|other| other.name == case.name).unwrap_or(0);
    Conversation::new(server, format!("{prefix}{}{number}", script.name))?.hold(case)
}

/// One case with one server.
struct Conversation {
    address: SocketAddr,
    raw: Raw,
    key: String,
    tokens: Tokens,
    counters: HashMap<String, u64>,
}

impl Conversation {
    fn new(server: &Server, key: String) -> anyhow::Result<Conversation> {
        let raw = Raw::connect(server.address)?;
        let (tokens, counters) = (Tokens::default(), HashMap::new());
        Ok(Conversation { address: server.address, raw, key, tokens, counters })
    }

    fn hold(mut self, case: &Case) -> anyhow::Result<Said> {
        let mut said = Vec::new();
        for step in &case.steps {
            if let Some(text) = self.step(step)? {
                said.push(text);
            }
        }
        Ok(said)
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<Option<String>> {
        match step {
            Step::Send { text, fenced: false } => {
                let bytes = bytes_of(text, &self.key, |role| self.tokens.token(role));
                // A server that has closed meanwhile shows it at the next fence.
                let _ = self.raw.send(&bytes);
                Ok(None)
            }
            Step::Send { text, fenced: true } => {
                let bytes = bytes_of(text, &self.key, |role| self.tokens.token(role));
                let received = self.raw.exchange(&bytes);
                self.heard(&received)
            }
            Step::Close => {
                let _ = self.raw.stream().shutdown(Shutdown::Write);
                let received = self.raw.read_to_close();
                self.heard(&received)
            }
            Step::Fresh => {
                self.raw = Raw::connect(self.address)?;
                Ok(None)
            }
            Step::Wait(time) => {
                pause(*time);
                Ok(None)
            }
            Step::Stats { argument, names } => {
                let stats = self.stats(argument);
                let shown = names.iter().filter(|name| stats.contains_key(*name));
                Ok(Some(format!("shows {}", shown.cloned().collect::<Vec<_>>().join(" "))))
            }
            Step::Count(names) => Ok(self.count(names)),
        }
    }

    fn heard(&mut self, received: &Received) -> anyhow::Result<Option<String>> {
        let mut text = normal(&received.bytes, &mut self.tokens);
        if received.closed {
            text.push_str(" [closed]");
            self.raw = Raw::connect(self.address)?;
        }
        if received.stuck {
            text.push_str(" [no answer to the fence]");
            self.raw = Raw::connect(self.address)?;
        }
        Ok(Some(text))
    }

    fn stats(&mut self, argument: &str) -> HashMap<String, String> {
        let command = format!("stats {argument}");
        let _ = self.raw.send(format!("{}\r\n", command.trim_end()).as_bytes());
        let received = self.raw.read_to(b"END\r\n");
        let text = String::from_utf8_lossy(&received.bytes).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What changed since the last call of the case; nothing at the first.
    fn count(&mut self, names: &[String]) -> Option<String> {
        let stats = self.stats("");
        let first = self.counters.is_empty();
        let mut texts = Vec::new();
        for name in names {
            let now: Option<u64> = stats.get(name).and_then(|value| value.parse().ok());
            let before = self.counters.insert(name.clone(), now.unwrap_or(0)).unwrap_or(0);
            texts.push(match now {
                Some(now) => format!("{name}+{}", now.wrapping_sub(before)),
                None => format!("{name} is missing"),
            });
        }
        (!first).then(|| texts.join(" "))
    }
}

/// Compares a server with stock memcached; prints what differs. How many cases were compared and differed.
///
/// A case that differs is held once more with both: a second that ended between the two, or a machine too
/// busy for a gateway's deadlines, does not happen twice.
///
/// # Errors
/// When a server cannot be reached any more.
pub(crate) fn compare(
    servers: [&Server; 2],
    scripts: &[Script],
    answers: [&Answers; 2],
) -> anyhow::Result<(usize, usize)> {
    let (mut compared, mut different) = (0, 0);
    let name = servers[1].name;
    for script in scripts {
        for case in script.cases.iter().filter(|case| case.applies_to(name)) {
            let id = (script.name.clone(), case.name.clone());
            compared += 1;
            if answers[0][&id] == answers[1][&id] && case.known_difference(name).is_none() {
                continue;
            }
            let again = |server| run_case(server, script, case, &format!("again{}", std::process::id()));
            let (stock, said) = (again(servers[0])?, again(servers[1])?);
            different += usize::from(!judge(servers[1], script, case, &stock, &said));
        }
    }
    Ok((compared, different))
}

/// Whether a case that differed is as it should be after all; prints why.
fn judge(server: &Server, script: &Script, case: &Case, stock: &Said, said: &Said) -> bool {
    let place = format!("{} {}: {}", server.name, script.name, case.name);
    match (stock == said, case.known_difference(server.name)) {
        (true, None) => println!("AGREED THE SECOND TIME {place}"),
        (false, Some(reason)) => println!("KNOWN {place}: {reason}"),
        (false, None) => {
            print_difference(server, script, case, stock, said);
            return false;
        }
        (true, Some(_)) => {
            println!("NO LONGER DIFFERENT {place}: take the line out");
            return false;
        }
    }
    true
}

/// The steps that something was said to, with it. The first count of a case says nothing.
fn answered<'a>(case: &'a Case, said: &'a Said) -> impl Iterator<Item = (&'a Step, &'a String)> {
    let mut counted = false;
    let speaks = move |step: &&Step| match step {
        Step::Fresh | Step::Wait(_) | Step::Send { fenced: false, .. } => false,
        Step::Count(_) => std::mem::replace(&mut counted, true),
        _ => true,
    };
    case.steps.iter().filter(speaks).zip(said)
}

/// Prints what a server said, case by case.
pub(crate) fn show(scripts: &[Script], said: &Answers) {
    for script in scripts {
        for case in &script.cases {
            println!("{}: {}", script.name, case.name);
            for (step, text) in answered(case, &said[&(script.name.clone(), case.name.clone())]) {
                println!("  > {}\n  < {text}", described(step));
            }
        }
    }
}

fn print_difference(server: &Server, script: &Script, case: &Case, stock: &Said, said: &Said) {
    println!("DIFFERENT {} {}: {}", server.name, script.name, case.name);
    for ((step, stock), said) in answered(case, stock).zip(said) {
        if stock != said {
            println!("  step      {}", described(step));
            println!("  memcached {stock}\n  {:9} {said}", server.name);
        }
    }
}

fn described(step: &Step) -> String {
    match step {
        Step::Send { text, .. } => shown(text.as_bytes()).replace("\\\\", "\\"),
        other => format!("{other:?}"),
    }
}
