//! The most probable classes of a prediction. It knows neither the model nor how a record is stored.

use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Most probable classes that a record keeps.
pub const TOP_MAX: usize = 8;

/// One of the most probable classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    pub class: u16,
    /// None where the record does not know it: those of format 2 name the predicted class alone.
    pub label: Option<Arc<str>>,
    /// Its probability, 0..=1.
    pub confidence: f32,
}

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut top = serializer.serialize_struct("Top", 3)?;
        top.serialize_field("class", &self.class)?;
        top.serialize_field("label", &self.label.as_deref())?;
        top.serialize_field("confidence", &self.confidence)?;
        top.end()
    }
}

/// Returns what a record keeps of these probabilities: the `TOP_MAX` most probable classes with their
/// labels, as `ranked` orders them. A class beyond `labels` has none.
pub fn top<L: Clone + Into<Arc<str>>>(probabilities: &[f32], labels: &[L]) -> Vec<Top> {
    let ranked = ranked(probabilities, TOP_MAX).into_iter();
    ranked
        .map(|(class, confidence)| {
            let label = labels.get(usize::from(class)).map(|label| label.clone().into());
            Top { class, label, confidence }
        })
        .collect()
}

/// Returns the `count` most probable classes and their probabilities, the most probable first, of
/// equals the lower class first. Costs about one comparison a class; a class above 65,535 is not looked at.
pub fn ranked(probabilities: &[f32], count: usize) -> Vec<(u16, f32)> {
    let count = count.min(probabilities.len());
    let mut ranked: Vec<(u16, f32)> = Vec::with_capacity(count + 1);
    let numbered = (0..=u16::MAX).zip(probabilities.iter().copied());
    for (class, probability) in numbered.filter(|(_, probability)| !probability.is_nan()) {
        let full = ranked.len() == count;
        if full && ranked.last().is_none_or(|(_, least)| probability <= *least) {
            continue;
        }
        let place = ranked.partition_point(|(_, higher)| *higher >= probability);
        ranked.insert(place, (class, probability));
        ranked.truncate(count);
    }
    ranked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_probable_come_first_and_of_equals_the_lower_class() {
        let labels = ["a", "b", "c", "d"];
        let top = top(&[0.125, 0.5, 0.125, 0.25], &labels);
        let found: Vec<_> = top.iter().map(|t| (t.class, t.label.as_deref())).collect();
        assert_eq!(found, [(1, Some("b")), (3, Some("d")), (0, Some("a")), (2, Some("c"))]);
        let json = serde_json::to_string(&top[1]).unwrap();
        assert_eq!(json, r#"{"class":3,"label":"d","confidence":0.25}"#);
    }

    #[test]
    fn a_single_class_and_none_are_possible() {
        assert_eq!(ranked(&[0.25], TOP_MAX), [(0, 0.25)]);
        assert_eq!(ranked(&[], TOP_MAX), []);
        assert_eq!(ranked(&[0.25], 0), []);
        assert_eq!(ranked(&[f32::NAN, 0.25, f32::NAN, 0.5], 1), [(3, 0.5)]);
        assert_eq!(top(&[0.25], &[] as &[&str])[0].label, None);
    }

    proptest! {
        #[test]
        fn ranking_is_a_stable_sort_cut_short(
            steps in prop::collection::vec(0..20_u8, 0..300),
            count in 0..12_usize,
        ) {
            let probabilities: Vec<f32> = steps.iter().map(|step| f32::from(*step) / 20.0).collect();
            let mut sorted: Vec<(u16, f32)> = (0..).zip(probabilities.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
            sorted.truncate(count);
            prop_assert_eq!(ranked(&probabilities, count), sorted);
        }
    }
}
