//! Rules about documents: links lead somewhere, and the wire contract names every command.

use std::collections::BTreeSet;

use crate::scan::code_only;
use crate::tree::{File, Violation};

/// The wire contract.
const CONTRACT: &str = "proto/PROTOCOL.md";
/// The first of its sections that shows no requests.
const BEHIND_COMMANDS: &str = "## 5.";
/// Where the codec tells commands apart.
const CODEC: &str = "proto/wire/src/";
/// Where the numbers of the binary protocol's commands are.
const OPCODES: &str = "proto/wire/src/binary/opcode.rs";

/// Relative links in Markdown that lead to no file or directory of the tree.
pub(crate) fn links(files: &[File]) -> Vec<Violation> {
    let known = places(files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (line, target) in targets(&file.text) {
            let path = target.split(['#', '?']).next().unwrap_or("");
            let place = if path.is_empty() { file.path.clone() } else { resolved(&file.path, path) };
            if !known.contains(place.trim_end_matches('/')) {
                found.push(Violation::at(file, line, format!("link to {target}, which is not there")));
            }
        }
    }
    found
}

/// Every file and every directory above one.
fn places(files: &[File]) -> BTreeSet<&str> {
    let mut places = BTreeSet::from([""]);
    for file in files {
        places.insert(file.path.as_str());
        places.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    places
}

/// Links in text, outside code, that are not addresses: line and target.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (start, _) in line.match_indices("](") {
            let in_code = line[..start].matches('`').count() % 2 == 1;
            let target = line[start + 2..].split([')', ' ']).next().unwrap_or("");
            if !in_code && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((at + 1, target));
            }
        }
    }
    found
}

fn resolved(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from
            .split('/')
            .collect::<Vec<_>>()
            .split_last()
            .map(|(_, above)| above.to_vec())
            .unwrap_or_default(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Above the root: kept, so that it resolves to nothing.
            ".." if parts.is_empty() => parts.push(".."),
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Commands that the codec's dispatch tells apart and the contract does not name in code type.
pub(crate) fn commands(files: &[File]) -> Vec<Violation> {
    let Some(contract) = files.iter().find(|file| file.path == CONTRACT) else {
        return vec![Violation { place: CONTRACT.to_owned(), line: 0, what: "is missing".to_owned() }];
    };
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(CODEC) && !file.is_test()) {
        let opcodes = if file.path == OPCODES { opcodes(&file.text) } else { Vec::new() };
        for (line, command) in dispatched(&file.text).into_iter().chain(opcodes) {
            if !names(&contract.text, command) {
                found.push(Violation::at(file, line, format!("command {command} is not in {CONTRACT}")));
            }
        }
    }
    found
}

/// Requests that the contract shows and the codec's dispatch does not know.
pub(crate) fn promises(files: &[File]) -> Vec<Violation> {
    let Some(contract) = files.iter().find(|file| file.path == CONTRACT) else { return Vec::new() };
    let codec = files.iter().filter(|file| file.path.starts_with(CODEC) && !file.is_test());
    let known: BTreeSet<&str> =
        codec.flat_map(|file| dispatched(&file.text)).map(|(_, command)| command).collect();
    let unknown = promised(&contract.text).into_iter().filter(|(_, command)| !known.contains(command));
    let say = |(line, command)| Violation::at(contract, line, format!("no command {command} is in {CODEC}"));
    unknown.map(say).collect()
}

/// The first words of requests in the contract's sections on text: in headings, in fences, and in tables of requests.
fn promised(contract: &str) -> Vec<(usize, &str)> {
    let (mut found, mut fenced, mut of_requests) = (Vec::new(), false, false);
    for (at, line) in contract.lines().enumerate().take_while(|(_, line)| !line.starts_with(BEHIND_COMMANDS))
    {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        of_requests = line.starts_with('|') && (of_requests || line.starts_with("| request |"));
        let shown: Vec<&str> = match line {
            _ if fenced => vec![line],
            _ if line.starts_with("### `") => line.split('`').skip(1).step_by(2).collect(),
            _ if of_requests => line.split('`').nth(1).into_iter().collect(),
            _ => Vec::new(),
        };
        let first = |text: &'_ str| {
            text.len() - text.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_').len()
        };
        let words = shown
            .into_iter()
            .map(|text| (first(text), text))
            .filter(|(end, text)| *end > 0 && matches!(text.as_bytes().get(*end), None | Some(b' ')));
        found.extend(words.map(|(end, text)| (at + 1, &text[..end])));
    }
    found
}

/// Byte strings of lower-case letters that are patterns of a `match`: `b"get" =>`, `b"get" | b"gets" =>`.
fn dispatched(source: &str) -> Vec<(usize, &str)> {
    let code = code_only(source);
    let mut found = Vec::new();
    for ((at, line), code) in source.lines().enumerate().zip(code.lines()) {
        let Some(arrow) = code.find("=>") else { continue };
        let mut rest = line[..arrow].trim();
        while let Some(start) = rest.find("b\"") {
            let literal = rest[start + 2..].split('"').next().unwrap_or("");
            let word = literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if word && literal.len() > 1 {
                found.push((at + 1, literal));
            }
            rest = rest[start + 2 + literal.len()..].trim_start_matches('"');
        }
    }
    found
}

/// Public constants of one byte: `pub const GET: u8 = 0x00;`.
fn opcodes(source: &str) -> Vec<(usize, &str)> {
    let constants = source.lines().enumerate().filter_map(|(at, line)| {
        let (_, number) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
        Some((at + 1, number.strip_suffix(';')?))
    });
    constants.collect()
}

/// Whether the text has the word in code type: in backticks, alone or first or within.
fn names(text: &str, command: &str) -> bool {
    let mut code = text.split('`').skip(1).step_by(2);
    let fences = text.split("```").skip(1).step_by(2);
    let has =
        |part: &str| part.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == command);
    code.any(has) || fences.into_iter().any(has)
}

#[test]
fn link_to_nothing_is_refused() {
    let text = "[a](docs/x.md) [b](docs) [c](https://x/y) [d](docs/x.md#part) `[e](no)`\n```\n[f](no)\n```\n[g](no.md)\n";
    let files = [File::new("README.md", text), File::new("docs/x.md", "[up](../README.md) [out](../../x)\n")];
    let found: Vec<String> = links(&files).iter().map(ToString::to_string).collect();
    let expected = [
        "README.md:5: link to no.md, which is not there",
        "docs/x.md:1: link to ../../x, which is not there",
    ];
    assert_eq!(found, expected);
}

#[test]
fn opcode_without_its_line_in_the_contract_is_refused() {
    let numbers =
        "/// `get`.\npub const GET: u8 = 0x00;\npub const SET: u8 = 0x01;\nconst SIZE: u8 = 0x02;\n";
    let files = [File::new(OPCODES, numbers), File::new(CONTRACT, "| `0x00` | `get` |\n0x01 is set\n")];
    let found: Vec<String> = commands(&files).iter().map(ToString::to_string).collect();
    assert_eq!(found, [format!("{OPCODES}:3: command 0x01 is not in {CONTRACT}")]);
}

#[test]
fn request_that_no_codec_knows_is_refused() {
    let codec = "match word {\n    b\"get\" | b\"mg\" => get(),\n}\n";
    let contract = "```\nget <key>*\ngone <key>\nVALUE <key>\nkey=<key> x\n```\n### `mg <key>`, `me <key>`\n\n\
        | request | replies |\n|---|---|\n| `touch <key>` | `TOUCHED`, `gut` |\n\n| `x` | y |\n## 5. Rest\n```\nlate <key>\n```\n";
    let files = [File::new("proto/wire/src/decode.rs", codec), File::new(CONTRACT, contract)];
    let found: Vec<String> = promises(&files).iter().map(ToString::to_string).collect();
    let expected = [(3, "gone"), (7, "me"), (11, "touch")]
        .map(|(line, word)| format!("{CONTRACT}:{line}: no command {word} is in {CODEC}"));
    assert_eq!(found, expected);
}

#[test]
fn command_without_its_line_in_the_contract_is_refused() {
    let codec = "match word {\n    b\"get\" | b\"gets\" => get(),\n    b\"mg\" => mg(),\n    _ => other(b\"x\"),\n}\n";
    let contract = "`get <key>*` and\n```\ngets <key>\n```\nmg is only mentioned\n";
    let files = [File::new("proto/wire/src/decode.rs", codec), File::new(CONTRACT, contract)];
    let found = commands(&files);
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("mg"));
    assert_eq!(commands(&files[..1]).len(), 1, "no contract at all is a violation too");
}
