//! Loading a model whose file is arbitrary bytes: it loads, or says why not. A panic of the engine is caught
//! where it is called, so the fuzzer's own hook, which ends the process at each, is taken away; what gets past
//! the walls still ends it.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use picket_classifier::{Model, ModelSource};
use tempfile::TempDir;

thread_local! {
    /// The one directory whose file is written anew for each input.
    static BUNDLE: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(
    init: { std::panic::set_hook(Box::new(|_| {})) },
    |input: &[u8]| {
        BUNDLE.with(|bundle| {
            let bundle =
                bundle.get_or_init(|| tempfile::tempdir().expect("there is room for a directory"));
            let path = bundle.path().join("model.onnx");
            std::fs::write(&path, input).expect("there is room for a file");
            if let Ok(model) = Model::load(&ModelSource::File(path)) {
                model.prove().expect("a model that has just been loaded gives the same scores again");
            }
        });
    }
);
