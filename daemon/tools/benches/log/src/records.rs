//! What every engine stores: typical predictions as entries for Picket's log, and for the others
//! the value that Picket's log makes of each before it packs those of one commit.

use std::sync::Arc;

use picket_base::clock::Stamp;
use picket_records::{Body, Entry, Labels, Origin, Predicted, encode_alone, top};

/// Distinct records; longer measurements use them again. As many as a long time of pages takes.
const DISTINCT: usize = 4_096;

const LABELS: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub struct Records {
    entries: Vec<Entry>,
    values: Vec<Vec<u8>>,
}

impl Records {
    /// Makes the entries, and the values that Picket's log makes of them.
    pub fn made() -> anyhow::Result<Records> {
        let entries = entries();
        let values = (1..).zip(&entries).map(|(id, entry)| encode_alone(id, entry));
        let values = values.collect::<Result<_, _>>()?;
        Ok(Records { entries, values })
    }

    /// Bytes of a value, on average.
    pub fn mean_bytes(&self) -> f64 {
        let total: usize = self.values.iter().map(Vec::len).sum();
        total as f64 / self.values.len() as f64
    }

    pub fn entry(&self, number: u64) -> &Entry {
        &self.entries[number as usize % DISTINCT]
    }

    pub fn value(&self, number: u64) -> &[u8] {
        &self.values[number as usize % DISTINCT]
    }
}

/// Ten logits each from a small linear congruential generator, as a trained net spreads them.
fn entries() -> Vec<Entry> {
    let origin = Arc::new(Origin {
        boot_id: picket_base::clock::boot_id(),
        model_name: "cifar10".into(),
        model_version: "1".into(),
        device_id: None,
        labels: Labels::new(&LABELS),
    });
    let mut state = 1_u64;
    let mut uniform = move || {
        // Knuth's MMIX constants; the upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let start = Stamp::now();
    (0..DISTINCT as u64)
        .map(|number| {
            let weights: [f32; 10] = std::array::from_fn(|_| (uniform() * 12.0).exp());
            let total: f32 = weights.iter().sum();
            let probabilities = weights.map(|weight| weight / total);
            let top = top(&probabilities, &LABELS);
            let class = top[0].class;
            let predicted = Predicted {
                class,
                label: LABELS[usize::from(class)].into(),
                uncertain: false,
                classes: LABELS.len() as u16,
                top,
            };
            // 100 a second.
            let later_us = number * 10_000;
            Entry {
                origin: origin.clone(),
                at: Stamp {
                    monotonic_us: start.monotonic_us + later_us,
                    wall_us: start.wall_us.saturating_add_unsigned(later_us),
                    synchronised: true,
                },
                inference_us: 100 + (uniform() * 300.0) as u64,
                defect: false,
                body: Body::Predicted(predicted),
            }
        })
        .collect()
}
