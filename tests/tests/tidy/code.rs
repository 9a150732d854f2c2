//! Rules about Rust source: lengths, glob imports, leftovers.

use crate::scan::{closing_brace, code_only, functions, line_of};
use crate::tree::{File, Violation};

/// A function must have fewer lines than this, signature and braces included.
const FUNCTION_LINES_BOUND: usize = 70;
/// Most lines of a source file: past it, it holds two nouns.
const FILE_LINES_MAX: usize = 500;
/// Most lines of a test file: cases are easier to skip than code.
const TEST_FILE_LINES_MAX: usize = 800;

/// Functions that are too long.
pub(crate) fn function_length(file: &File) -> Vec<Violation> {
    if !file.is_rust() {
        return Vec::new();
    }
    let lines = |function: &crate::scan::Function| function.last - function.first + 1;
    let long = functions(&file.text).into_iter().filter(|function| lines(function) >= FUNCTION_LINES_BOUND);
    let say = |function: crate::scan::Function| {
        let what =
            format!("fn {} has {} lines, must be < {FUNCTION_LINES_BOUND}", function.name, lines(&function));
        Violation::at(file, function.first, what)
    };
    long.map(say).collect()
}

/// Files that are too long.
pub(crate) fn file_length(file: &File) -> Vec<Violation> {
    let most = if file.is_test() { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= most {
        return Vec::new();
    }
    vec![Violation::at(file, 0, format!("{lines} lines, at most {most}: split it by noun"))]
}

/// `use some::path::*` outside tests.
pub(crate) fn glob_imports(file: &File) -> Vec<Violation> {
    if !file.is_rust() || file.is_test() {
        return Vec::new();
    }
    let code = without_test_modules(&code_only(&file.text));
    let glob = |line: &str| {
        let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        line.starts_with("use ") && line.contains('*')
    };
    let globs = code.lines().enumerate().filter(|(_, line)| glob(line));
    globs.map(|(at, _)| Violation::at(file, at + 1, "import names one by one, not with *")).collect()
}

/// Blanks every `mod` that follows `#[cfg(test)]`.
fn without_test_modules(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let Some(open) = code[at..].find('{').map(|offset| at + offset) else { continue };
        let declared = code[at..open].contains(';');
        let Some(close) = closing_brace(code, open).filter(|_| !declared) else { continue };
        bytes[open..close].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Stubs, ignored tests and examples that are not compiled.
pub(crate) fn leftovers(file: &File) -> Vec<Violation> {
    if !file.is_rust() || file.is_tidy() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let code = code_only(&file.text);
    for banned in ["todo!(", "unimplemented!(", "#[ignore"] {
        let places = code.match_indices(banned).map(|(at, _)| line_of(&code, at));
        found.extend(places.map(|line| Violation::at(file, line, format!("`{banned}` must not stay"))));
    }
    for (at, line) in file.text.lines().enumerate() {
        let fence = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        if fence.strip_prefix("```").is_some_and(|info| info.split(',').any(|word| word.trim() == "ignore")) {
            found.push(Violation::at(file, at + 1, "compile every example: no `ignore`"));
        }
    }
    found
}

#[test]
fn function_of_seventy_lines_is_refused_and_of_sixty_nine_is_not() {
    let of = |lines: usize| format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2));
    assert_eq!(function_length(&File::new("a/src/b.rs", &of(70))).len(), 1);
    assert_eq!(function_length(&File::new("a/src/b.rs", &of(69))).len(), 0);
}

#[test]
fn file_past_its_limit_is_refused_and_tests_have_more() {
    let text = "//\n".repeat(501);
    assert_eq!(file_length(&File::new("a/src/b.rs", &text)).len(), 1);
    assert_eq!(file_length(&File::new("a/tests/b.rs", &text)).len(), 0);
    assert_eq!(file_length(&File::new("a/src/x/tests.rs", &"//\n".repeat(801))).len(), 1);
    assert_eq!(file_length(&File::new("a/README.md", &text)).len(), 0);
}

#[test]
fn glob_import_is_refused_outside_tests_only() {
    let glob = "use a::b::*;\npub use c::*;\nuse d::{e, f};\nlet x = a * b;\n";
    assert_eq!(glob_imports(&File::new("a/src/b.rs", glob)).len(), 2);
    assert_eq!(glob_imports(&File::new("a/tests/b.rs", glob)).len(), 0);
    let module = "#[cfg(test)]\nmod tests {\n    use super::*;\n}\nuse a::*;\n";
    let found = glob_imports(&File::new("a/src/b.rs", module));
    assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [5]);
    let declared = "#[cfg(test)]\nmod tests;\nmod x {\n    use super::*;\n}\n";
    assert_eq!(glob_imports(&File::new("a/src/b.rs", declared)).len(), 1);
}

#[test]
fn leftovers_are_refused_but_not_in_strings() {
    let text = "fn a() { todo!() }\nfn b() { unimplemented!(\"x\") }\n#[ignore = \"slow\"]\n/// ```ignore\n";
    let lines: Vec<usize> = leftovers(&File::new("a/src/b.rs", text)).iter().map(|v| v.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
    assert!(
        leftovers(&File::new("a/src/b.rs", "let x = \"todo!()\"; // todo!()\n/// ```no_run\n")).is_empty()
    );
}
