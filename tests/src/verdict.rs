//! What a part of a suite found.

use std::fmt;

/// Faults told in full; the rest is counted.
const FAULTS_TOLD_MAX: usize = 8;

/// Figures and faults of one part.
#[derive(Debug, Default)]
pub struct Verdict {
    figures: Vec<String>,
    faults: Vec<String>,
}

impl Verdict {
    /// A figure for the line of this part.
    pub fn figure(&mut self, figure: impl Into<String>) {
        self.figures.push(figure.into());
    }

    /// What must hold, and what is wrong when it does not.
    pub fn must(&mut self, holds: bool, fault: impl Into<String>) {
        if !holds {
            self.faults.push(fault.into());
        }
    }

    /// Nothing of this may have been found.
    pub fn none(&mut self, what: &str, found: &[String]) {
        let (first, last) =
            (found.first().map_or("", String::as_str), found.last().map_or("", String::as_str));
        self.must(found.is_empty(), format!("{} {what}, the first: {first}, the last: {last}", found.len()));
    }

    /// Whether all that must hold does.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.figures.join("; "))?;
        if self.passed() {
            return f.write_str(": PASSED");
        }
        write!(f, ": FAILED ({})", self.faults.len())?;
        for fault in self.faults.iter().take(FAULTS_TOLD_MAX) {
            write!(f, "\n  fault: {fault}")?;
        }
        Ok(())
    }
}
