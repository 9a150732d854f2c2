//! Namespaces as an operator writes them: `NAME[,guarantee=SIZE][,limit=SIZE]`, or as a table of the file.

use bytesize::ByteSize;
use evanesce_node::{NamespaceConfig, namespace_faults};

use crate::config::check::Checker;

/// Beyond any machine: a mistake in a unit.
const BYTES_MAX: u64 = 1 << 44;
/// One, for documents.
pub(crate) const EXAMPLE: &str = "user,guarantee=1GiB,limit=2GiB";
/// What stands between two namespaces in one text.
pub(crate) const BETWEEN: char = ';';
/// The keys of a table of the file; the first stands alone on the command line.
pub(crate) const KEYS: [&str; 3] = ["name", "guarantee", "limit"];

/// The namespaces of a node with this memory. What the store would refuse is a fault here.
pub(crate) fn check_namespaces(
    check: &mut Checker,
    memory_bytes: Option<usize>,
) -> Option<Vec<NamespaceConfig>> {
    let namespaces = check.other("namespace", Some(String::new()), parse_namespaces)?;
    for fault in namespace_faults(&namespaces, memory_bytes?) {
        check.fault(fault.to_string());
    }
    Some(namespaces)
}

/// Namespaces with semicolons between them; none in an empty text.
fn parse_namespaces(text: &str) -> Result<Vec<NamespaceConfig>, String> {
    let parts = text.split(BETWEEN).filter(|part| !part.trim().is_empty());
    let (mut namespaces, mut faults) = (Vec::new(), Vec::new());
    for part in parts {
        match parse_namespace(part) {
            Ok(namespace) => namespaces.push(namespace),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(namespaces) } else { Err(faults.join("; ")) }
}

/// One namespace.
///
/// # Errors
///
/// What to write instead.
pub(crate) fn parse_namespace(text: &str) -> Result<NamespaceConfig, String> {
    let mut parts = text.trim().split(',');
    let name = parts.next().unwrap_or_default();
    let mut namespace = NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() };
    if name.contains('=') || name.contains(BETWEEN) {
        return Err(format!("{text:?} does not begin with a name: write NAME,guarantee=SIZE,limit=SIZE"));
    }
    for part in parts {
        match part.split_once('=') {
            Some(("guarantee", size)) => namespace.guarantee_bytes = parse_size(name, part, size)?,
            Some(("limit", size)) => namespace.limit_bytes = Some(parse_size(name, part, size)?),
            _ => {
                return Err(format!("{part:?} of namespace {name}: write guarantee=SIZE or limit=SIZE"));
            }
        }
    }
    Ok(namespace)
}

fn parse_size(name: &str, part: &str, size: &str) -> Result<usize, String> {
    let size: ByteSize = size
        .parse()
        .map_err(|_| format!("{part:?} of namespace {name}: write a size such as 64MiB or 2GiB"))?;
    let bytes = Some(size.as_u64()).filter(|bytes| (1..=BYTES_MAX).contains(bytes));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{part:?} of namespace {name}: choose from 1B to 16TiB, or leave it out"))
}

/// Namespaces of a text as the file has them.
pub(crate) fn in_file(text: &str) -> String {
    let tables = text.split(BETWEEN).filter(|part| !part.trim().is_empty()).map(|part| {
        let values = part.trim().split(',').enumerate().map(|(index, part)| match part.split_once('=') {
            Some((key, value)) if index > 0 => format!("{key} = {}", toml::Value::from(value)),
            _ => format!("{} = {}", KEYS[0], toml::Value::from(part)),
        });
        format!("{{ {} }}", values.collect::<Vec<_>>().join(", "))
    });
    format!("[{}]", tables.collect::<Vec<_>>().join(", "))
}

/// A namespace of the file as the command line has it, or what to write instead.
pub(crate) fn from_file(table: &toml::Table) -> Result<String, String> {
    let unknown = table.keys().find(|key| !KEYS.contains(&key.as_str()));
    if let Some(key) = unknown {
        return Err(format!("has no key `{key}`: these are {}", KEYS.join(", ")));
    }
    let Some(toml::Value::String(name)) = table.get(KEYS[0]) else {
        return Err("has no name: write name = \"...\", in quotes".to_owned());
    };
    // On the command line these stand between names and sizes.
    if name.contains([',', '=', BETWEEN]) {
        return Err(format!("is named {name:?}: a name has no comma, semicolon and equals sign"));
    }
    let mut text = name.clone();
    for key in &KEYS[1..] {
        match table.get(*key) {
            None => {}
            Some(toml::Value::String(size)) if !size.contains([',', BETWEEN]) => {
                text.extend([",", key, "=", size]);
            }
            Some(toml::Value::Integer(bytes)) => text.extend([",", key, "=", &bytes.to_string()]),
            Some(_) => {
                return Err(format!("has a {key} that is no size: write {key} = \"64MiB\", in quotes"));
            }
        }
    }
    Ok(text)
}
