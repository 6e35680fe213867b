//! The embedded network's QDQ twin is the same network: the same scores, bit by bit, on every path of this CPU.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use picket_classifier::{Engine, Model, ModelSource};
use picket_picture::{Tensor, Values};

const TWIN: &str = "embedded/cifar10-int8-qdq.onnx";

/// Pictures that are none of anything.
const PICTURES: usize = 50;

fn picture(model: &Model, seed: usize) -> Tensor {
    let shape = model.info().input.shape();
    let byte = |at: usize| ((at * 7919 + at * at * 31 + seed * 104_729) >> 3) as u8;
    Tensor { shape, values: Values::U8((0..shape.iter().product()).map(byte).collect()) }
}

#[test]
fn the_twin_gives_the_embedded_network_s_scores() {
    let twin = ModelSource::File(Path::new(env!("CARGO_MANIFEST_DIR")).join(TWIN));
    for engine in Engine::all().into_iter().filter(|engine| *engine != Engine::Tract) {
        let [own, twin] =
            [&ModelSource::Embedded, &twin].map(|source| Model::load_on(source, engine).unwrap());
        assert_eq!((own.info().stock, twin.info().stock), (0, 0), "{}", engine.name());
        assert_eq!(own.info().output.labels, twin.info().output.labels);
        for seed in 0..PICTURES {
            let input = picture(&own, seed);
            let [own, twin] = [&own, &twin].map(|model| model.run(&input).unwrap().0);
            assert!(own.len() == 10 && own.iter().any(|score| *score != own[0]));
            assert_eq!(own, twin, "picture {seed} with {}", engine.name());
        }
    }
}
