//! From text to values that cannot be wrong, noting every fault on the way instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use evanesce_front::Listen;
use evanesce_topology::{NameKind, check_name};

use crate::config::bounds::{Bounds, LEASE, shown_size, shown_time};
use crate::config::fault::{ConfigError, Fault};
use crate::config::form::Form;
use crate::config::layers::{Raw, Setting};
use crate::config::spec::{RoleName, Unset, option_named};

/// What turns a side off.
const OFF: &str = "off";

/// Checks a raw configuration, option by option.
///
/// Each method returns `None` for an option that is not set or at fault; a fault is noted, so that a `None` that must
/// not be there never passes [`Checker::finish`].
pub(crate) struct Checker {
    role: RoleName,
    settings: BTreeMap<&'static str, Setting>,
    faults: Vec<Fault>,
    /// What holds, by the option's name: what was set, or else the default.
    effective: BTreeMap<&'static str, String>,
    insecure: bool,
    /// Addresses with a port of their own, and the option that took them.
    taken: BTreeMap<SocketAddr, &'static str>,
    asked: BTreeSet<&'static str>,
    file_lost: bool,
    looks_at_files: bool,
}

impl Checker {
    pub(crate) fn new(raw: Raw) -> Self {
        let mut checker = Self {
            role: raw.role,
            settings: raw.settings,
            faults: raw.faults,
            effective: BTreeMap::new(),
            insecure: false,
            taken: BTreeMap::new(),
            asked: BTreeSet::new(),
            file_lost: raw.file_lost,
            looks_at_files: raw.looks_at_files,
        };
        checker.insecure = checker.switch("insecure");
        checker
    }

    /// Hands out `config` with what is in effect, or every fault.
    pub(crate) fn finish<T>(
        self,
        config: Option<T>,
    ) -> Result<(T, BTreeMap<&'static str, String>), ConfigError> {
        debug_assert!(
            self.settings.keys().all(|name| self.asked.contains(name)),
            "an option that can be set is never read: {:?} of {:?}",
            self.asked,
            self.settings.keys()
        );
        match config {
            Some(config) if self.faults.is_empty() => Ok((config, self.effective)),
            _ => Err(ConfigError { faults: self.faults }),
        }
    }

    /// Notes a fault of more than one option.
    pub(crate) fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(Fault::new(text));
    }

    /// The option's text: what was set, or else the default, or else what `computed` says.
    fn text(&mut self, name: &'static str, computed: Option<String>) -> Option<String> {
        let spec = option_named(name).expect("only options of the table are asked for");
        self.asked.insert(name);
        let text = match (self.settings.get(name), spec.unset(self.role)) {
            (Some(setting), _) => Some(setting.text.clone()),
            (None, Some(Unset::Text(text))) => Some(text.to_owned()),
            (None, _) => computed,
        };
        if let Some(text) = &text {
            self.effective.insert(name, text.clone());
        }
        text
    }

    /// Parses the option's text, noting what is wrong with it and where it stands.
    fn parse<T>(
        &mut self,
        name: &'static str,
        computed: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name, computed)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let origin = self.settings.get(name).map_or("the default", |setting| setting.origin.as_str());
                self.faults.push(Fault::new(format!("{name} = {text:?} ({origin}): {wrong}")));
                None
            }
        }
    }

    /// Notes a fault where an option that `because` needs is not set. A file that cannot be read may have set it, and
    /// is a fault already.
    pub(crate) fn needed<T>(&mut self, name: &'static str, value: Option<T>, because: &str) -> Option<T> {
        if !self.file_lost && !self.effective.contains_key(name) {
            let spec = option_named(name).expect("only options of the table are asked for");
            let (flag, env, role) = (spec.flag(), spec.env(), self.role);
            self.fault(format!(
                "{name} is not set: {because}; set --{flag}, {env}, or {name} under [{role}]"
            ));
        }
        value
    }

    pub(crate) fn name(
        &mut self,
        name: &'static str,
        kind: NameKind,
        computed: Option<String>,
    ) -> Option<String> {
        self.parse(name, computed, |text| match check_name(kind, text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    pub(crate) fn switch(&mut self, name: &'static str) -> bool {
        self.parse(name, None, |text| text.parse().map_err(|_| "write true or false".to_owned()))
            .unwrap_or(false)
    }

    /// A whole number within the option's bounds.
    pub(crate) fn number(&mut self, name: &'static str, computed: Option<usize>) -> Option<usize> {
        let Form::Number(bounds) = form(name) else { unreachable!("{name} is no number in the table") };
        self.parse(name, computed.map(|number| number.to_string()), |text| {
            let number = text.parse().map_err(|_| "write a whole number".to_owned())?;
            bounds.take(number, |number| number)
        })
    }

    /// A size in bytes within the option's bounds.
    pub(crate) fn size(&mut self, name: &'static str, computed: Option<usize>) -> Option<usize> {
        let Form::Size(bounds) = form(name) else { unreachable!("{name} is no size in the table") };
        // A computed size is in whole mebibytes.
        self.parse(name, computed.map(|bytes| format!("{}MiB", bytes >> 20)), |text| {
            let size: ByteSize = text.parse().map_err(|_| "write a size such as 64MiB or 2GiB".to_owned())?;
            let bytes = usize::try_from(size.as_u64())
                .map_err(|_| "more than this machine can address".to_owned())?;
            bounds.take(bytes, shown_size)
        })
    }

    /// A duration within the option's bounds.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Duration> {
        let Form::Time(bounds) = form(name) else { unreachable!("{name} is no time in the table") };
        self.parse(name, None, |text| time(text, bounds))
    }

    /// A duration within the option's bounds; `Some(None)` where it is off.
    pub(crate) fn time_or_off(&mut self, name: &'static str) -> Option<Option<Duration>> {
        let Form::TimeOrOff(bounds) = form(name) else { unreachable!("{name} is no time in the table") };
        self.parse(name, None, |text| match text {
            OFF => Ok(None),
            text => time(text, bounds).map(Some),
        })
    }

    /// One of a few words.
    pub(crate) fn word<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.parse(name, None, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// Anything; `parse` says what is wrong with it.
    pub(crate) fn other<T>(
        &mut self,
        name: &'static str,
        computed: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.parse(name, computed, parse)
    }

    pub(crate) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.parse(name, None, |text| {
            if text.is_empty() { Err("name a directory".to_owned()) } else { Ok(PathBuf::from(text)) }
        })
    }

    /// A file that is read later.
    pub(crate) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.parse(name, None, |text| {
            if text.is_empty() { Err("name a file".to_owned()) } else { Ok(PathBuf::from(text)) }
        })
    }

    /// Any text but an empty one.
    pub(crate) fn text_of(&mut self, name: &'static str, what: &str) -> Option<String> {
        self.parse(
            name,
            None,
            |text| if text.is_empty() { Err(what.to_owned()) } else { Ok(text.to_owned()) },
        )
    }

    /// Notes what is wrong with files that options name, where they are looked at.
    pub(crate) fn look<E: Display>(&mut self, faults: impl FnOnce() -> Vec<E>) {
        if self.looks_at_files {
            faults().iter().for_each(|fault| self.fault(fault.to_string()));
        }
    }

    /// The operator allows anybody who can reach an address.
    pub(crate) fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The discoveries' addresses.
    pub(crate) fn peers(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.parse(name, None, |text| text.split(',').map(peer).collect())
    }

    /// Places to listen at: at least one, each taken once.
    pub(crate) fn listen_many(&mut self, name: &'static str) -> Option<Vec<Listen>> {
        let place = |part: &str| part.trim().parse::<Listen>().map_err(|error| error.to_string());
        let places: Vec<Listen> = self.parse(name, None, |text| text.split(',').map(place).collect())?;
        for (index, place) in places.iter().enumerate() {
            place.address().into_iter().for_each(|address| self.take(name, address));
            if place.path().is_some_and(|path| places[..index].iter().any(|other| other.path() == Some(path)))
            {
                self.fault(format!("{name} = {place} is there twice: give each its own path"));
            }
        }
        Some(places)
    }

    /// One address to listen on; `Some(None)` where it is off.
    pub(crate) fn listen(
        &mut self,
        name: &'static str,
        computed: Option<SocketAddr>,
    ) -> Option<Option<SocketAddr>> {
        let computed = computed.map_or(OFF.to_owned(), |address| address.to_string());
        let listen = self.parse(name, Some(computed), |text| match text {
            OFF => Ok(None),
            text => address(text).map(Some),
        })?;
        if let Some(address) = listen {
            if !self.insecure && !is_loopback(address.ip()) {
                self.fault(format!(
                    "{name} = {address} is not loopback, and nobody has to say who he is there: listen on 127.0.0.1 or \
                     ::1, or say --insecure if everyone who can reach the address may read and change everything"
                ));
            }
            self.take(name, address);
        }
        Some(listen)
    }

    fn take(&mut self, name: &'static str, address: SocketAddr) {
        if address.port() == 0 {
            return;
        }
        if let Some(other) = self.taken.insert(address, name) {
            self.fault(format!("{name} = {address} is already taken by {other}: give each its own port"));
        }
    }
}

/// Loopback of either family, an IPv4 one in IPv6 clothes included.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A peer's address as ip:port or host:port, with or without `http://`.
pub(crate) fn peer(text: &str) -> Result<String, String> {
    let bare = text.trim();
    let bare = bare.strip_prefix("http://").unwrap_or(bare);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(bare.to_owned())
        }
        _ => Err("write ip:port or host:port, such as 127.0.0.1:11300 or [::1]:11300".to_owned()),
    }
}

/// Whether something could have this name or address; an IPv6 address stands in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !text.is_empty() && text.bytes().all(named)
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write ip:port, such as 127.0.0.1:11211 or [::1]:11211".to_owned())
}

/// A discovery's lease that leaves room for renewals.
pub(crate) fn parse_lease(text: &str) -> Result<Duration, String> {
    time(text, Bounds { min: Duration::from_secs(1), ..LEASE })
}

fn time(text: &str, bounds: Bounds<Duration>) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| "write a time such as 500ms or 10s".to_owned())?;
    bounds.take(time, shown_time)
}

/// How the table says that the option is written.
fn form(name: &str) -> Form {
    option_named(name).expect("only options of the table are asked for").form
}
