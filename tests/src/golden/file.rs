//! A file of golden transcripts.

use anyhow::bail;

/// A file, its comments included.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name without the ending.
    pub name: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// A comment, or nothing.
    Note(String),
    Case(String),
    Sent(String),
    Reply(String),
}

/// One conversation.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// The file's name.
    pub file: String,
    /// What is sent, and what came back.
    pub steps: Vec<Step>,
}

/// One exchange.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// As the file writes it.
    pub sent: String,
    /// Empty where nothing is recorded, and where nothing came back.
    pub reply: String,
}

impl Case {
    /// What `$k` stands for: readable, and no other case's.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.file, self.name.replace(' ', "-"))
    }
}

impl File {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When a line is none of the four kinds, stands before the first case, or two cases have one name.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<File> {
        let mut file = File { name: name.to_owned(), lines: Vec::new() };
        for (at, line) in text.lines().enumerate() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.to_owned();
            file.lines.push(match word {
                "" | "#" => Line::Note(line.to_owned()),
                "case" => Line::Case(rest),
                ">" => Line::Sent(rest),
                "<" => Line::Reply(rest),
                _ => bail!("{name}:{}: neither case, >, < nor a comment", at + 1),
            });
        }
        let speaks = |line: &Line| !matches!(line, Line::Note(_));
        if !matches!(file.lines.iter().find(|line| speaks(line)), None | Some(Line::Case(_))) {
            bail!("{name}: a step before the first case");
        }
        let mut names: Vec<String> = file.cases().into_iter().map(|case| case.name).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => bail!("{name}: two cases are called {}", pair[0]),
            None => Ok(file),
        }
    }

    /// Its cases, in order.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for line in &self.lines {
            match (line, cases.last_mut()) {
                (Line::Case(name), _) => {
                    cases.push(Case { name: name.clone(), file: self.name.clone(), steps: Vec::new() });
                }
                (Line::Sent(sent), Some(case)) => {
                    case.steps.push(Step { sent: sent.clone(), reply: String::new() });
                }
                (Line::Reply(reply), Some(case)) => {
                    if let Some(step) = case.steps.last_mut() {
                        step.reply.clone_from(reply);
                    }
                }
                _ => {}
            }
        }
        cases
    }

    /// The file's text with other replies, one list a case.
    #[must_use]
    pub fn with_replies(&self, replies: &[Vec<String>]) -> String {
        let mut replies = replies.iter().flatten();
        let mut out = String::new();
        for line in &self.lines {
            match line {
                Line::Note(text) => out.push_str(text),
                Line::Case(name) => out.push_str(&format!("case {name}")),
                Line::Sent(sent) => {
                    let reply = replies.next().map(String::as_str).unwrap_or_default();
                    out.push_str(format!("> {sent}\n< {reply}").trim_end());
                }
                Line::Reply(_) => continue,
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::File;

    const TEXT: &str =
        "# note\n\ncase a b\n> mg $k\\r\\n\n< EN\\r\\n\n> mn\\r\\n\n\ncase c\n> mn\\r\\n\n< MN\\r\\n\n";

    #[test]
    fn file_becomes_cases_and_takes_other_replies() {
        let file = File::parse("mg", TEXT).expect("parses");
        let cases = file.cases();
        assert_eq!((cases[0].key(), cases[0].steps.len()), ("mg:a-b".to_owned(), 2));
        assert_eq!((cases[0].steps[0].reply.as_str(), cases[0].steps[1].reply.as_str()), (r"EN\r\n", ""));
        let replies = [vec!["HD".to_owned(), "MN".to_owned()], vec![String::new()]];
        let recorded = file.with_replies(&replies);
        assert_eq!(
            recorded,
            "# note\n\ncase a b\n> mg $k\\r\\n\n< HD\n> mn\\r\\n\n< MN\n\ncase c\n> mn\\r\\n\n<\n"
        );
        let again = File::parse("mg", &recorded).expect("parses");
        assert_eq!(again.with_replies(&replies), recorded);
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        for text in ["> mn\n", "case a\nsend x\n", "case a\ncase a\n"] {
            assert!(File::parse("x", text).is_err(), "{text}");
        }
    }
}
