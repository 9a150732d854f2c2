//! Rosters as the file has them.

use evanesce_grpc::discovery::v1::{Place, Roster, Stage};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedRoster {
    group: String,
    zone: String,
    revision: u64,
    stage: String,
    nodes: Vec<SavedPlace>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<SavedPlace>,
    change: u64,
    what: String,
    #[serde(default)]
    nodes_min: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPlace {
    name: String,
    ring_text: String,
}

/// The stages by the words of the file.
const STAGES: [(Stage, &str); 7] = [
    (Stage::Steady, "steady"),
    (Stage::Filling, "filling"),
    (Stage::Switched, "switched"),
    (Stage::Opening, "opening"),
    (Stage::Leaving, "leaving"),
    (Stage::Left, "left"),
    (Stage::Gone, "gone"),
];

impl From<&Roster> for SavedRoster {
    fn from(roster: &Roster) -> Self {
        let stage = STAGES.iter().find(|(stage, _)| *stage == roster.stage()).map_or("", |(_, word)| word);
        Self {
            group: roster.group.clone(),
            zone: roster.zone.clone(),
            revision: roster.revision,
            stage: stage.to_owned(),
            nodes: roster.nodes.iter().map(SavedPlace::from).collect(),
            others: roster.others.iter().map(SavedPlace::from).collect(),
            change: roster.change,
            what: roster.what.clone(),
            nodes_min: roster.nodes_min,
        }
    }
}

impl From<&Place> for SavedPlace {
    fn from(place: &Place) -> Self {
        Self { name: place.name.clone(), ring_text: place.ring_text.clone() }
    }
}

impl TryFrom<SavedRoster> for Roster {
    type Error = String;

    fn try_from(saved: SavedRoster) -> Result<Self, String> {
        let stage = STAGES.iter().find(|(_, word)| *word == saved.stage).map(|(stage, _)| *stage);
        let stage = stage.ok_or_else(|| format!("there is no stage {:?}", saved.stage))?;
        let places = |places: Vec<SavedPlace>| places.into_iter().map(Place::from).collect();
        Ok(Self {
            group: saved.group,
            zone: saved.zone,
            revision: saved.revision,
            stage: stage.into(),
            nodes: places(saved.nodes),
            others: places(saved.others),
            change: saved.change,
            what: saved.what,
            nodes_min: saved.nodes_min,
        })
    }
}

impl From<SavedPlace> for Place {
    fn from(SavedPlace { name, ring_text }: SavedPlace) -> Self {
        Self { name, ring_text }
    }
}
