//! YAML as the files of `deploy/` use it.

use std::collections::BTreeMap;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use crate::deploy::read;

/// The documents of a file, what is merged into maps by `<<` merged.
pub(crate) fn documents(name: &str) -> Vec<Yaml> {
    let documents =
        YamlLoader::load_from_str(&read(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"));
    documents.iter().map(merged).collect()
}

fn merged(value: &Yaml) -> Yaml {
    match value {
        Yaml::Array(values) => Yaml::Array(values.iter().map(merged).collect()),
        Yaml::Hash(hash) => {
            let mut all = Hash::new();
            // What stands in the map itself goes over what is merged into it.
            let (inherited, own): (Vec<_>, Vec<_>) =
                hash.iter().partition(|(key, _)| key.as_str() == Some("<<"));
            for (_, value) in inherited {
                if let Yaml::Hash(hash) = merged(value) {
                    all.extend(hash);
                }
            }
            own.into_iter().for_each(|(key, value)| _ = all.insert(key.clone(), merged(value)));
            Yaml::Hash(all)
        }
        other => other.clone(),
    }
}

/// The text at a place, which must be there.
pub(crate) fn text(value: &Yaml) -> String {
    match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(switch) => switch.to_string(),
        other => panic!("{other:?} is no text"),
    }
}

/// The values of a list, none where there is no list.
pub(crate) fn list(value: &Yaml) -> &[Yaml] {
    value.as_vec().map_or(&[], Vec::as_slice)
}

/// A map of texts, empty where there is no map.
pub(crate) fn texts(value: &Yaml) -> BTreeMap<String, String> {
    let pairs = value.as_hash().into_iter().flatten();
    pairs.map(|(key, value)| (text(key), text(value))).collect()
}

/// The number at a place, which must be there.
pub(crate) fn number(value: &Yaml) -> u64 {
    value
        .as_i64()
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or_else(|| panic!("{value:?} is no number"))
}

/// The one of a list that has this name.
pub(crate) fn named<'a>(values: &'a Yaml, name: &str) -> Option<&'a Yaml> {
    list(values).iter().find(|value| value["name"].as_str() == Some(name))
}
