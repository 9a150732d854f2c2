//! Namespaces: which one a key belongs to, and what each may hold.

use thiserror::Error;

/// The namespace of all keys that belong to no other.
pub(crate) const DEFAULT: usize = 0;
/// Namespaces beside the default one: each may have segments of its own open in every shard.
const NAMESPACES_MAX: usize = 64;
/// What ends the name in a key.
const SEPARATOR: u8 = b':';

/// A namespace: all keys that begin with its name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceConfig {
    /// The name, without the colon.
    pub name: String,
    /// Bytes of the budget that the others cannot take from it. 0 by default.
    pub guarantee_bytes: usize,
    /// The most bytes of the budget it may hold. No limit by default.
    pub limit_bytes: Option<usize>,
}

/// Namespaces that cannot work. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The name cannot begin a key.
    #[error("namespace name {0:?} cannot be told in a key: give 1 to 200 bytes without spaces and colons")]
    Name(String),
    /// Two have one name.
    #[error("namespace {0:?} is configured twice: keep one")]
    Twice(String),
    /// The name is taken.
    #[error("namespace name \"default\" stands for all keys without a namespace: choose another")]
    Default,
    /// There are too many.
    #[error("{0} namespaces are too many: at most {NAMESPACES_MAX} can be configured")]
    TooMany(usize),
    /// The guarantee is larger than the limit.
    #[error("namespace {0:?} guarantees more than its limit: lower one or raise the other")]
    GuaranteeAboveLimit(String),
    /// All guarantees together leave too little.
    #[error("namespaces guarantee {sum} bytes together: at most {most} of this memory can be guaranteed")]
    GuaranteesTooLarge {
        /// What is guaranteed.
        sum: usize,
        /// What can be.
        most: usize,
    },
}

/// All namespaces of a store, the default one first.
#[derive(Debug)]
pub(crate) struct Namespaces {
    configs: Vec<NamespaceConfig>,
    /// Of each, the space whose queues hold its items: 0 is shared by all that have no guarantee and no limit.
    spaces: Vec<u8>,
}

impl Namespaces {
    /// Checks the configuration against a budget.
    pub(crate) fn new(
        configs: Vec<NamespaceConfig>,
        memory_bytes: usize,
    ) -> Result<Namespaces, NamespaceError> {
        if configs.len() > NAMESPACES_MAX {
            return Err(NamespaceError::TooMany(configs.len()));
        }
        for (index, config) in configs.iter().enumerate() {
            check(config)?;
            if configs[..index].iter().any(|other| other.name == config.name) {
                return Err(NamespaceError::Twice(config.name.clone()));
            }
        }
        let sum = configs.iter().map(|config| config.guarantee_bytes).fold(0, usize::saturating_add);
        let most = memory_bytes / 10 * 9;
        if sum > most {
            return Err(NamespaceError::GuaranteesTooLarge { sum, most });
        }
        let default = NamespaceConfig { name: "default".to_owned(), ..NamespaceConfig::default() };
        let configs: Vec<_> = std::iter::once(default).chain(configs).collect();
        let mut spaces = 0;
        let space = |config: &NamespaceConfig| {
            let own = config.guarantee_bytes > 0 || config.limit_bytes.is_some();
            spaces += u8::from(own);
            if own { spaces } else { 0 }
        };
        let spaces = configs.iter().map(space).collect();
        Ok(Namespaces { configs, spaces })
    }

    /// The namespace of a key.
    pub(crate) fn of(&self, key: &[u8]) -> usize {
        if self.configs.len() == 1 {
            return DEFAULT;
        }
        let named = |config: &NamespaceConfig| {
            key.get(config.name.len()) == Some(&SEPARATOR) && key.starts_with(config.name.as_bytes())
        };
        self.configs.iter().skip(1).position(named).map_or(DEFAULT, |index| index + 1)
    }

    /// The namespace of this name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.configs.iter().position(|config| config.name == name)
    }

    pub(crate) fn name(&self, namespace: usize) -> &str {
        &self.configs[namespace].name
    }

    pub(crate) fn count(&self) -> usize {
        self.configs.len()
    }

    /// The space of a namespace.
    pub(crate) fn space(&self, namespace: usize) -> u8 {
        self.spaces[namespace]
    }

    /// What each space is guaranteed and may hold, in bytes.
    pub(crate) fn spaces(&self) -> Vec<(usize, Option<usize>)> {
        let own = self.configs.iter().zip(&self.spaces).filter(|(_, space)| **space > 0);
        let own = own.map(|(config, _)| (config.guarantee_bytes, config.limit_bytes));
        std::iter::once((0, None)).chain(own).collect()
    }
}

fn check(config: &NamespaceConfig) -> Result<(), NamespaceError> {
    let name = &config.name;
    if name == "default" {
        return Err(NamespaceError::Default);
    }
    let unfit = |byte: u8| byte == SEPARATOR || byte <= b' ' || byte == 0x7f;
    if name.is_empty() || name.len() > 200 || name.bytes().any(unfit) {
        return Err(NamespaceError::Name(name.clone()));
    }
    match config.limit_bytes {
        Some(limit) if limit < config.guarantee_bytes => {
            Err(NamespaceError::GuaranteeAboveLimit(name.clone()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{NamespaceConfig, NamespaceError, Namespaces};

    fn named(name: &str) -> NamespaceConfig {
        NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() }
    }

    #[test]
    fn key_belongs_to_the_namespace_before_its_first_colon() {
        let user = NamespaceConfig { guarantee_bytes: 10, ..named("user") };
        let namespaces = Namespaces::new(vec![named("use"), user], 1000).unwrap();
        for (key, namespace) in [
            ("user:1", 2),
            ("use:1", 1),
            ("user", 0),
            ("users:1", 0),
            (":user:", 0),
            ("a:user:1", 0),
            ("user:", 2),
        ] {
            assert_eq!(namespaces.of(key.as_bytes()), namespace, "{key}");
        }
        assert_eq!((namespaces.space(1), namespaces.space(2)), (0, 1));
        assert_eq!(namespaces.spaces(), [(0, None), (10, None)]);
        assert_eq!((namespaces.named("user"), namespaces.name(0)), (Some(2), "default"));
    }

    #[test]
    fn namespaces_that_cannot_work_are_refused() {
        let refused = |configs: &[NamespaceConfig]| Namespaces::new(configs.to_vec(), 1000).unwrap_err();
        assert_eq!(refused(&[named("a b")]), NamespaceError::Name("a b".to_owned()));
        assert_eq!(refused(&[named("a"), named("a")]), NamespaceError::Twice("a".to_owned()));
        assert_eq!(refused(&[named("default")]), NamespaceError::Default);
        let large = NamespaceConfig { guarantee_bytes: 901, ..named("a") };
        assert_eq!(refused(&[large]), NamespaceError::GuaranteesTooLarge { sum: 901, most: 900 });
        let inverted = NamespaceConfig { guarantee_bytes: 9, limit_bytes: Some(8), ..named("a") };
        assert_eq!(refused(&[inverted]), NamespaceError::GuaranteeAboveLimit("a".to_owned()));
        assert!(matches!(refused(&vec![named("a"); 65]), NamespaceError::TooMany(65)));
    }
}
