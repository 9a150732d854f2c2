//! The alerts and the dashboard, held against what real processes show: a name or a label that nobody shows would make an
//! alert that never fires.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::deploy::read;
use crate::deploy::yaml::{documents, list, text};
use crate::support::{Cluster, address, exchange};

/// Labels that Prometheus itself adds, or a dashboard's choice.
const ADDED: [&str; 2] = ["job", "instance"];

/// A metric as an expression asks for it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    name: String,
    labels: Vec<(String, String)>,
}

fn expressions() -> Vec<String> {
    let rules = documents("prometheus/alerts.yaml");
    let rules = list(&rules[0]["groups"]).iter().flat_map(|group| list(&group["rules"]));
    let mut found: Vec<String> = rules.map(|rule| text(&rule["expr"])).collect();
    let dashboard: Value = serde_json::from_str(&read("grafana/evanesce.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    found.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    found
}

/// Every metric of ours in an expression, with the labels it is asked for by.
fn asked(expression: &str) -> Vec<Asked> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = expression.match_indices("evanesce_").map(|(at, _)| at);
    // Not within a longer word.
    let starts = starts.filter(|at| !expression[..*at].ends_with(|c: char| is_of_name(c) || c == '"'));
    let one = |at: usize| {
        let rest = &expression[at..];
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let labels =
            rest[end..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.filter(|(name, _)| !ADDED.contains(name));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Asked { name: rest[..end].to_owned(), labels }
    };
    starts.map(one).collect()
}

/// Every series that the processes of a cluster show.
fn shown(cluster: &Cluster) -> BTreeSet<String> {
    let processes =
        cluster.list("discovery").iter().chain(cluster.list("nodes")).chain([&cluster.json["gateway"]]);
    let scrape = |process: &Value| {
        let request = "GET /metrics HTTP/1.1\r\nHost: evanesce\r\nConnection: close\r\n\r\n";
        exchange(address(&process["http"]), request)
    };
    let scraped: Vec<String> = processes.map(scrape).collect();
    let lines = scraped.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("evanesce_"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn every_alert_and_panel_asks_for_what_processes_show() {
    let cluster = Cluster::start(&["--zones", "1", "--nodes", "1"]);
    let shown = shown(&cluster);
    let all: BTreeSet<Asked> = expressions().iter().flat_map(|expression| asked(expression)).collect();
    assert!(all.len() >= 20, "{all:?}");
    for asked in all {
        let is_shown = |series: &String| {
            let name = series.split('{').next();
            let has = |(label, value): &(String, String)| series.contains(&format!("{label}={value}"));
            name == Some(asked.name.as_str()) && asked.labels.iter().all(has)
        };
        assert!(shown.iter().any(is_shown), "nobody shows {asked:?}; there are {shown:#?}");
    }
}

#[test]
fn metrics_are_found_in_an_expression_with_their_labels() {
    let found = asked(
        r#"sum(rate(evanesce_a_total{job="$job",outcome="hit"}[5m])) / evanesce_b > up{job="evanesce"}"#,
    );
    let expected =
        [("evanesce_a_total", vec![("outcome".to_owned(), "\"hit\"".to_owned())]), ("evanesce_b", vec![])];
    let expected = expected.map(|(name, labels)| Asked { name: name.to_owned(), labels });
    assert_eq!(found, expected);
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let rules = documents("prometheus/alerts.yaml");
    for rule in list(&rules[0]["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let name = text(&rule["alert"]);
        assert!(["page", "ticket"].contains(&text(&rule["labels"]["severity"]).as_str()), "{name}");
        assert!(!text(&rule["annotations"]["summary"]).is_empty(), "{name}");
        assert!(text(&rule["annotations"]["action"]).ends_with('.'), "{name}");
    }
}
