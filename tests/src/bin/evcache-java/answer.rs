//! What the Java side asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_tests::{Deadline, Raw, eventually};

use crate::stage::{Group, Stage};

/// Requests sent at once to one server.
const BATCH: usize = 250;
/// How long a write may take to be in every zone: through the gateway, or into a zone whose latch nobody awaits.
const SPREAD_LIMIT: Duration = Duration::from_secs(10);

/// The stage, and what was counted on it.
pub(crate) struct Bench<'a> {
    stage: &'a mut Stage,
    /// Connections to the nodes and what each had counted.
    counted: Vec<(Raw, String)>,
}

impl Bench<'_> {
    pub(crate) fn new(stage: &mut Stage) -> Bench<'_> {
        Bench { stage, counted: Vec::new() }
    }

    /// Does what was asked; what to tell the Java side.
    pub(crate) fn answer(&mut self, asked: &str) -> String {
        if asked.contains("gateway ") && self.stage.gateway().is_none() {
            return "NOT HERE these servers have no gateway".to_owned();
        }
        self.obey(asked).map_or_else(|error| format!("{error:#}").replace('\n', " "), |()| "OK".to_owned())
    }

    fn obey(&mut self, asked: &str) -> anyhow::Result<()> {
        match asked.split(' ').collect::<Vec<_>>()[..] {
            ["owners", file] => self.compare_owners(file),
            ["read-owners", zones, prefix, from, to] => {
                self.at_owners(zones, &Items { prefix, who: "java", from: from.parse()?, to: to.parse()? })
            }
            ["read-gateway", prefix, from, to] => {
                let items = Items { prefix, who: "java", from: from.parse()?, to: to.parse()? };
                items.read(self.stage.gateway().context("no gateway")?, &items.numbers().collect::<Vec<_>>())
            }
            ["write-gateway", prefix, from, to] => {
                self.write(&Items { prefix, who: "rust", from: from.parse()?, to: to.parse()? })
            }
            ["meta", key, value] => self.meta(key, value),
            ["connections-before"] => self.count_connections(),
            ["connections-same"] => self.same_connections(),
            ["kill", zone] => self.stage.kill(zone),
            ["start", zone] => self.stage.start_again(zone),
            _ => bail!("unknown: {asked}"),
        }
    }

    /// The owners that Java's client computed, against ours.
    fn compare_owners(&self, file: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let mut compared = 0;
        for line in text.lines() {
            let [key, zone, owner] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("not a line: {line}")
            };
            let ours = self.stage.group(zone)?.owner_seen(key);
            if ours.to_string() != owner {
                bail!("{key} in {zone}: Java has {owner}, we have {ours}");
            }
            compared += 1;
        }
        println!("  {compared} owners compared");
        if compared == 0 { bail!("no owner to compare") } else { Ok(()) }
    }

    /// Waits until items are at their owners in these zones, separated by commas, and nowhere else there.
    fn at_owners(&self, zones: &str, items: &Items<'_>) -> anyhow::Result<()> {
        let groups =
            zones.split(',').map(|zone| self.stage.group(zone)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut last = None;
        let look = || {
            let all = groups.iter().try_for_each(|group| items.at_owners(group));
            all.map_err(|error| last = Some(error)).ok()
        };
        let waited = eventually("every item at its owners", Deadline::within(SPREAD_LIMIT), look);
        waited.with_context(|| last.map(|error| error.to_string()).unwrap_or_default())
    }

    /// Writes through the gateway, whose client is ours, and waits until every owner has every item.
    fn write(&self, items: &Items<'_>) -> anyhow::Result<()> {
        let mut gateway = Raw::connect(self.stage.gateway().context("no gateway")?)?;
        let numbers: Vec<usize> = items.numbers().collect();
        for batch in numbers.chunks(BATCH) {
            let set = |&number: &usize| {
                let value = items.value(number);
                format!("set {}{number} 0 900 {}\r\n{value}\r\n", items.prefix, value.len())
            };
            let received = gateway.exchange(batch.iter().map(set).collect::<String>().as_bytes());
            if received.bytes != "STORED\r\n".repeat(batch.len()).as_bytes() {
                bail!("the gateway said {}", received.bytes.escape_ascii());
            }
        }
        let zones: Vec<&str> = self.stage.groups.iter().map(|group| group.zone.as_str()).collect();
        self.at_owners(&zones.join(","), items)
    }

    /// Meta get and meta debug in the very bytes that the client's later releases send, and the replies in the form that
    /// they take apart. The release in use has neither, so this side asks in its stead.
    fn meta(&self, key: &str, value: &str) -> anyhow::Result<()> {
        for group in &self.stage.groups {
            let mut raw = Raw::connect(group.owner(key))?;
            let hit = raw.exchange(format!("mg {key} s f t h l c v\r\n").as_bytes()).bytes;
            check_meta_get(&String::from_utf8(hit)?, value)?;
            let debug = raw.exchange(format!("me {key}\r\n").as_bytes()).bytes;
            check_meta_debug(&String::from_utf8(debug)?, key)?;
            let misses =
                raw.exchange(format!("mg {key}-absent s f t h l c v\r\nme {key}-absent\r\n").as_bytes());
            if misses.bytes != b"EN\r\nEN\r\n" {
                bail!("misses got {}", misses.bytes.escape_ascii());
            }
        }
        Ok(())
    }

    fn count_connections(&mut self) -> anyhow::Result<()> {
        self.counted.clear();
        for member in self.stage.groups.iter().flat_map(|group| &group.members) {
            let mut raw = Raw::connect(member.address)?;
            let count = connections(&mut raw)?;
            self.counted.push((raw, count));
        }
        Ok(())
    }

    fn same_connections(&mut self) -> anyhow::Result<()> {
        for (raw, before) in &mut self.counted {
            let now = connections(raw)?;
            if now != *before {
                bail!("a node had {before} connections in all, and now {now}");
            }
        }
        if self.counted.is_empty() { bail!("connections were not counted before") } else { Ok(()) }
    }
}

/// Numbered items: key `PREFIX` and number, value `WHO` and number.
struct Items<'a> {
    prefix: &'a str,
    who: &'a str,
    from: usize,
    to: usize,
}

impl Items<'_> {
    fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        self.from..self.to
    }

    fn value(&self, number: usize) -> String {
        format!("{} {number}", self.who)
    }

    /// Every item at its owner, and at no other node of the group.
    fn at_owners(&self, group: &Group) -> anyhow::Result<()> {
        let mut by_owner: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for number in self.numbers() {
            by_owner.entry(group.owner(&format!("{}{number}", self.prefix))).or_default().push(number);
        }
        for member in &group.members {
            for (owner, numbers) in &by_owner {
                if *owner == member.address {
                    self.read(*owner, numbers)?;
                } else {
                    self.read_none(member.address, numbers)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the items straight from a server.
    fn read(&self, server: SocketAddr, numbers: &[usize]) -> anyhow::Result<()> {
        self.ask(server, numbers, |number| {
            let value = self.value(number);
            format!("VALUE {}{number} 0 {}\r\n{value}\r\nEND\r\n", self.prefix, value.len())
        })
    }

    /// None of the items is there.
    fn read_none(&self, server: SocketAddr, numbers: &[usize]) -> anyhow::Result<()> {
        self.ask(server, numbers, |_| "END\r\n".to_owned())
    }

    fn ask(
        &self,
        server: SocketAddr,
        numbers: &[usize],
        wanted: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        let mut raw = Raw::connect(server)?;
        for batch in numbers.chunks(BATCH) {
            let get = |number: &usize| format!("get {}{number}\r\n", self.prefix);
            let received = raw.exchange(batch.iter().map(get).collect::<String>().as_bytes());
            let wanted = batch.iter().map(|&number| wanted(number)).collect::<String>();
            if received.bytes != wanted.as_bytes() {
                let start = &received.bytes[..received.bytes.len().min(200)];
                bail!(
                    "{server} was asked for {}{} on and should say {:.60}..., but said: {}",
                    self.prefix,
                    batch[0],
                    wanted.escape_debug().to_string(),
                    start.escape_ascii()
                );
            }
        }
        Ok(())
    }
}

/// `VA SIZE s f t h l c` and the value: what the client's metadata is made from.
fn check_meta_get(reply: &str, value: &str) -> anyhow::Result<()> {
    let (line, rest) = reply.split_once("\r\n").context("no line")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [va, size, rest_of_words @ ..] = &words[..] else { bail!("too short: {line}") };
    let mut letters = String::new();
    for word in rest_of_words {
        letters.extend(word.chars().next());
        word.get(1..)
            .unwrap_or_default()
            .parse::<i64>()
            .with_context(|| format!("not a number in {line}"))?;
    }
    if *va != "VA"
        || *size != value.len().to_string()
        || letters != "sfthlc"
        || rest != format!("{value}\r\n")
    {
        bail!("meta get got {}", reply.escape_debug());
    }
    Ok(())
}

/// `ME KEY exp= la= cas= fetch= cls= size=`: what the client reads from it.
fn check_meta_debug(reply: &str, key: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = reply.trim_end_matches("\r\n").split(' ').collect();
    let has = |name: &str| words.iter().any(|word| word.starts_with(name));
    let all = ["exp=", "la=", "cas=", "fetch=", "cls=", "size="].into_iter().all(has);
    // The client cuts every further word at its sign.
    let cut = words.iter().skip(2).all(|word| word.contains('='));
    if words[..2.min(words.len())] != ["ME", key] || !all || !cut {
        bail!("meta debug got {}", reply.escape_debug());
    }
    Ok(())
}

/// How many connections a server has taken since it began.
fn connections(raw: &mut Raw) -> anyhow::Result<String> {
    let stats = String::from_utf8(raw.exchange(b"stats\r\n").bytes)?;
    let line = stats.lines().find_map(|line| line.strip_prefix("STAT total_connections "));
    Ok(line.context("no total_connections")?.to_owned())
}
