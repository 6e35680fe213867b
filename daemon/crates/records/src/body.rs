//! What is stored of a record's body: format 3, which is written, and format 2, which is still read.
//! Knows nothing of the value around it.
//!
//! Format 3 keeps of a prediction its most probable classes, by number; what they are called is stored
//! once, with the origin, or here where that has no room. A probability takes steps of 2^-16, so that
//! those far below 1 take one byte or two: a record's probability differs from the answer's by at most
//! 2^-17 (7.6e-6), and not at all at 0, 1/2 and 1.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::detections::Detection;
use super::origin::{Labels, Origin};
use super::record::{Body, NAME_BYTES_MAX, Predicted, Reported};
use super::top::{TOP_MAX, Top, ranked};

/// How many classes a prediction of format 2 has.
const CLASSES_OF_FORMAT_2: u16 = 10;

/// What stands for a probability of 1.
const ONE: f32 = 65_536.0;

/// postcard counts the variants; the packed form knows them by `Variant`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum StoredBody<'a> {
    #[serde(skip_serializing)]
    Predicted2(Predicted2<'a>),
    #[serde(skip_serializing)]
    Reported2(Reported2),
    /// The origin knows what the classes are called.
    Predicted(Numbered),
    Labelled(#[serde(borrow)] Labelled<'a>),
    Reported(Cow<'a, Reported>),
}

/// Variants of `StoredBody`.
pub(super) const VARIANTS: u8 = 5;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Predicted2<'a> {
    class: u8,
    #[serde(borrow)]
    label: Cow<'a, str>,
    probabilities: Probabilities2,
}

/// `CLASSES_OF_FORMAT_2` probabilities, in the order of the classes.
#[derive(Clone, Debug)]
struct Probabilities2(Vec<f32>);

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reported2 {
    image_id: String,
    timestamp: f64,
    inference_time_ms: f64,
    detections: Vec<Detection2>,
    confidence_scores: Vec<f64>,
    processing_notes: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Detection2 {
    class: String,
    confidence: f64,
    bbox: [f64; 4],
    uncertain: Option<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Numbered {
    class: u16,
    classes: u16,
    /// Classes, and their probabilities in 1 / `ONE`.
    top: Vec<(u16, u32)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Labelled<'a> {
    numbered: Numbered,
    /// Of the predicted class.
    #[serde(borrow)]
    label: Cow<'a, str>,
    /// Of the classes of `top`, in their order; empty for the predicted class.
    #[serde(borrow)]
    labels: Vec<Cow<'a, str>>,
}

impl<'a> StoredBody<'a> {
    /// Gives the stored form of a body whose record has these labels in its origin.
    pub(super) fn of(body: &'a Body, labels: &Labels) -> StoredBody<'a> {
        match body {
            Body::Reported(reported) => StoredBody::Reported(Cow::Borrowed(reported)),
            Body::Predicted(predicted) => {
                let Predicted { class, label, classes, top, .. } = predicted;
                let top = &top[..top.len().min(TOP_MAX)];
                let numbered = Numbered {
                    class: *class,
                    classes: *classes,
                    top: top.iter().map(|top| (top.class, to_steps(top.confidence))).collect(),
                };
                let known = |class| labels.get(class).map(|label| &**label);
                let same = |top: &Top| known(top.class) == top.label.as_deref();
                if known(*class) == Some(&**label) && top.iter().all(same) {
                    return StoredBody::Predicted(numbered);
                }
                let label_of = |top: &'a Top| match &top.label {
                    Some(label) if top.class != *class => Cow::Borrowed(cut(label)),
                    _ => Cow::Borrowed(""),
                };
                let label = Cow::Borrowed(cut(label));
                let labels = top.iter().map(label_of).collect();
                StoredBody::Labelled(Labelled { numbered, label, labels })
            }
        }
    }

    /// Returns the body of a record of this origin.
    pub(super) fn into_body(self, uncertain: bool, origin: &Origin) -> Body {
        match self {
            StoredBody::Predicted2(predicted) => predicted.into_body(uncertain),
            StoredBody::Reported2(reported) => Body::Reported(Box::new(reported.into())),
            StoredBody::Predicted(numbered) => {
                let label_of = |class| origin.labels.get(class).cloned();
                let label = label_of(numbered.class).map(|label| label.to_string());
                Body::Predicted(numbered.into_predicted(uncertain, label, label_of))
            }
            StoredBody::Labelled(Labelled { numbered, label, labels }) => {
                let predicted: Arc<str> = Arc::from(&*label);
                let classes: Vec<u16> = numbered.top.iter().map(|(class, _)| *class).collect();
                let winner = numbered.class;
                let label_of = |class| {
                    let place = classes.iter().position(|other| *other == class);
                    let label = labels.get(place?).filter(|label| !label.is_empty());
                    let own = (class == winner).then(|| predicted.clone());
                    own.or_else(|| label.map(|label| Arc::from(&**label)))
                };
                let label = Some(label.into_owned());
                Body::Predicted(numbered.into_predicted(uncertain, label, label_of))
            }
            StoredBody::Reported(reported) => Body::Reported(Box::new(reported.into_owned())),
        }
    }
}

impl Numbered {
    fn into_predicted(
        self,
        uncertain: bool,
        label: Option<String>,
        label_of: impl Fn(u16) -> Option<Arc<str>>,
    ) -> Predicted {
        let Numbered { class, classes, top } = self;
        let label = label.unwrap_or_else(|| format!("class {class}"));
        let top = top.into_iter().map(|(class, steps)| Top {
            class,
            label: label_of(class),
            confidence: steps as f32 / ONE,
        });
        Predicted { class, label, uncertain, classes, top: top.collect() }
    }
}

impl Predicted2<'_> {
    fn into_body(self, uncertain: bool) -> Body {
        let Predicted2 { class, label, probabilities: Probabilities2(probabilities) } = self;
        let class = u16::from(class);
        let known: Arc<str> = Arc::from(&*label);
        let top =
            ranked(&probabilities, probabilities.len()).into_iter().map(|(of, confidence)| Top {
                class: of,
                label: (of == class).then(|| known.clone()),
                confidence,
            });
        let (label, classes, top) = (label.into_owned(), CLASSES_OF_FORMAT_2, top.collect());
        Body::Predicted(Predicted { class, label, uncertain, classes, top })
    }
}

impl From<Reported2> for Reported {
    fn from(reported: Reported2) -> Reported {
        let detection = |detection: Detection2| Detection {
            class: detection.class,
            confidence: detection.confidence,
            bbox: detection.bbox.to_vec(),
            uncertain: detection.uncertain,
        };
        Reported {
            image_id: reported.image_id,
            timestamp: reported.timestamp,
            inference_time_ms: reported.inference_time_ms,
            detections: reported.detections.into_iter().map(detection).collect(),
            confidence_scores: reported.confidence_scores,
            processing_notes: reported.processing_notes,
        }
    }
}

impl<'de> Deserialize<'de> for Probabilities2 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Probabilities2, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Probabilities2;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{CLASSES_OF_FORMAT_2} probabilities")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Probabilities2, A::Error> {
                let each = (0..CLASSES_OF_FORMAT_2).map(|class| {
                    let missing = || A::Error::invalid_length(class.into(), &self);
                    seq.next_element()?.ok_or_else(missing)
                });
                each.collect::<Result<_, _>>().map(Probabilities2)
            }
        }

        deserializer.deserialize_tuple(CLASSES_OF_FORMAT_2.into(), All)
    }
}

/// A probability in steps of 1 / `ONE`.
fn to_steps(probability: f32) -> u32 {
    // NaN becomes 0.
    (probability.clamp(0.0, 1.0) * ONE).round() as u32
}

/// A label as far as a record keeps it.
fn cut(label: &str) -> &str {
    let mut end = label.len().min(NAME_BYTES_MAX);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    &label[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::{LABELS, origin};
    use super::super::top::top;
    use super::*;

    /// Through the bytes and back, with the origin that was stored beside them.
    fn again(predicted: &Predicted, origin: &Origin) -> (usize, Predicted) {
        let body = Body::Predicted(predicted.clone());
        let bytes = postcard::to_allocvec(&StoredBody::of(&body, &origin.labels)).unwrap();
        let stored: StoredBody = postcard::from_bytes(&bytes).unwrap();
        match stored.into_body(predicted.uncertain, origin) {
            Body::Predicted(predicted) => (bytes.len(), predicted),
            Body::Reported(_) => panic!("it was a prediction"),
        }
    }

    fn predicted(probabilities: &[f32], labels: &[impl AsRef<str>]) -> Predicted {
        let shared: Vec<Arc<str>> = labels.iter().map(|label| Arc::from(label.as_ref())).collect();
        let top = top(probabilities, &shared);
        let class = top[0].class;
        let label = labels[usize::from(class)].as_ref().to_string();
        let classes = probabilities.len() as u16;
        Predicted { class, label, uncertain: false, classes, top }
    }

    #[test]
    fn labels_of_the_origin_cost_a_record_nothing_and_others_are_kept_in_it() {
        let own = origin("edge-01");
        let mut changed = Origin::clone(&own);
        changed.labels = Labels::new(&["ok", "defect"]);
        let made = predicted(&[0.5, 0.25, 0.0, 0.125, 0.0, 0.0, 0.0, 0.0625, 0.0, 0.0625], LABELS);
        assert_eq!(again(&made, &own), (27, made.clone()));
        assert_eq!(again(&made, &changed), (79, made.clone()), "a model that was changed");
        let mut renamed = LABELS.to_vec();
        renamed[9] = "lorry";
        changed.labels = Labels::new(&renamed);
        assert_eq!(again(&made, &changed).1, made, "another label for one of them");
        let mut nameless = made;
        nameless.top.iter_mut().skip(1).for_each(|top| top.label = None);
        for origin in [&own, &changed] {
            assert_eq!(again(&nameless, origin).1, nameless);
        }
    }

    #[test]
    fn one_class_and_ten_thousand_are_possible() {
        let labels: Vec<String> = (0..10_000).map(|class| format!("class {class}")).collect();
        let none = Origin { labels: Labels::new(&labels), ..Origin::clone(&origin("edge-01")) };
        assert_eq!(none.labels, Labels::default());
        let mut probabilities = vec![0.0; 10_000];
        (probabilities[9_999], probabilities[7]) = (0.75, 0.25);
        let made = predicted(&probabilities, &labels);
        assert_eq!((made.class, made.top.len()), (9_999, TOP_MAX));
        assert_eq!(again(&made, &none).1, made);
        let made = predicted(&[0.25], &["defect"]);
        assert_eq!(again(&made, &origin("edge-01")).1, made);
    }

    #[test]
    fn a_label_is_cut_where_a_name_ends_and_never_within_a_character() {
        let long = "ä".repeat(100);
        let made = predicted(&[0.75, 0.25], &[&*long, "x"]);
        assert_eq!(again(&made, &origin("edge-01")).1.label, "ä".repeat(64));
        let odd = format!("x{long}");
        let made = predicted(&[0.75, 0.25], &[&*odd, "x"]);
        assert_eq!(again(&made, &origin("edge-01")).1.label, format!("x{}", "ä".repeat(63)));
    }

    proptest! {
        #[test]
        fn a_record_tells_a_probability_to_a_hundred_thousandth(
            probabilities in prop::collection::vec(0.0..=1.0_f32, 1..20),
        ) {
            let labels: Vec<String> = (0..20).map(|class| class.to_string()).collect();
            let made = predicted(&probabilities, &labels);
            let (_, kept) = again(&made, &origin("edge-01"));
            for (kept, made) in kept.top.iter().zip(&made.top) {
                prop_assert_eq!((kept.class, &kept.label), (made.class, &made.label));
                prop_assert!((kept.confidence - made.confidence).abs() <= 1e-5);
            }
        }
    }
}
