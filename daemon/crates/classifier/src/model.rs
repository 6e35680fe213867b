//! A model: load, digest, golden check, run → Scores. Knows nothing of images on the wire, of
//! verdicts or of the log, nor which engine computes it.

use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::error::{MODEL_BYTES_MAX, ModelError};
use crate::graph::{Parsed, prepare};
use crate::info::ModelInfo;
use crate::labels::labels;
use crate::output::{Kind, Output};
use crate::run::{Plan, one_line};
use crate::scores::Scores;
use crate::{embedded, golden};
use picket_picture::{JsonRange, MediaType, Picture, Tensor};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    Embedded,
    File(PathBuf),
}

/// A loaded model. Shared by every worker: a run keeps its state to itself.
pub struct Model {
    plan: Plan,
    info: ModelInfo,
    /// Scores of the golden sample, computed at load.
    proof: Scores,
}

impl Model {
    /// Reads, checks and warms up a model, so that its first request is as fast as the next.
    ///
    /// # Errors
    /// Unreadable or over `MODEL_BYTES_MAX`; not ONNX that tract runs; not one picture
    /// of u8, i8 or f32 to one score a class; golden logits that differ.
    pub fn load(source: &ModelSource) -> Result<Model, ModelError> {
        Model::load_on(source, Engine::best())
    }

    /// Loads a model whose convolutions another engine computes than the fastest.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_on(source: &ModelSource, engine: Engine) -> Result<Model, ModelError> {
        match source {
            ModelSource::Embedded => Model::embedded(embedded::SAMPLE_LOGITS, engine),
            ModelSource::File(path) => {
                Model::from_onnx(&read_bounded(path)?, path.parent(), engine)
            }
        }
    }

    fn embedded(sample_logits: &str, engine: Engine) -> Result<Model, ModelError> {
        let model = Model::from_onnx(embedded::MODEL, None, engine)?;
        let stated = sample_logits.trim_end().replace('\n', ",");
        let expected = golden::parse(&stated).expect("golden.py wrote 10 numbers");
        golden::check(&model.info.digest, &model.proof, &expected, embedded::SAMPLE_TOLERANCE)?;
        Ok(model)
    }

    fn from_onnx(onnx: &[u8], dir: Option<&Path>, engine: Engine) -> Result<Model, ModelError> {
        let started = Instant::now();
        let digest: String =
            Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        let invalid = |detail: String| ModelError::Invalid { digest: digest.clone(), detail };
        // tract trusts its input: a damaged graph may panic rather than fail.
        let parsed = catch_unwind(AssertUnwindSafe(|| prepare(onnx, dir, engine)))
            .map_err(|panic| panicked(&digest, &*panic, "reading"))?
            .map_err(|error| invalid(one_line(&error)))?;

        let unfit = |detail: String| ModelError::Unfit { digest: digest.clone(), detail };
        let labels = labels(parsed.metadata.labels.as_deref(), parsed.scores).map_err(unfit)?;
        let golden = parsed.metadata.golden.as_deref().map(golden::parse).transpose();
        let golden = golden.map_err(unfit)?;
        let mut model = Model::new(parsed, labels, &digest, onnx.len());
        model.info.golden_checked = golden.is_some();
        let proven = catch_unwind(AssertUnwindSafe(|| model.first_runs(golden.as_deref())));
        proven.map_err(|panic| panicked(&digest, &*panic, "running"))??;
        model.info.load_time = started.elapsed();
        Ok(model)
    }

    fn new(parsed: Parsed, labels: Vec<String>, digest: &str, bytes: usize) -> Model {
        let info = ModelInfo {
            name: parsed.metadata.name,
            version: parsed.metadata.version.unwrap_or_else(|| digest[..12].to_string()),
            input: parsed.input,
            output: Output {
                kind: parsed.tail.unwrap_or(Kind::Logits),
                temperature: 1.0,
                labels: Arc::from(labels),
            },
            bytes,
            load_time: Duration::ZERO,
            run_time: Duration::ZERO,
            golden_checked: false,
            kernel: parsed.kernel,
            convolutions: parsed.convolutions,
            nodes: parsed.nodes,
            digest: digest.to_string(),
        };
        Model { plan: parsed.plan, info, proof: Scores(Vec::new()) }
    }

    fn first_runs(&mut self, golden: Option<&[f32]>) -> Result<(), ModelError> {
        let digest = self.info.digest.clone();
        let unfit = |error: ModelError| match error {
            ModelError::Run(detail) => ModelError::Unfit { digest: digest.clone(), detail },
            other => other,
        };
        let input = Tensor::new(&golden::picture(&self.info.input), &self.info.input);
        let found = self.run(&input).map_err(unfit)?;
        if let Some(expected) = golden {
            golden::check(&digest, &found, expected, golden::TOLERANCE)?;
        }
        let sample = self.sample().map_err(unfit)?;
        let started = Instant::now();
        self.proof = self.run(&sample).map_err(unfit)?;
        self.info.run_time = started.elapsed();
        Ok(())
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Decodes and runs the golden sample once more. The same code on the same data gives the same
    /// bits: anything else is damage, in memory or in the CPU.
    ///
    /// # Errors
    /// `Damaged` when the logits are not those that the model gave at load; as `run`.
    pub fn prove(&self) -> Result<(), ModelError> {
        let found = self.run(&self.sample()?)?;
        let pairs = || found.0.iter().zip(&self.proof.0);
        if pairs().all(|(found, at_load)| found.to_bits() == at_load.to_bits()) {
            return Ok(());
        }
        let differences = pairs().map(|(found, at_load)| (found - at_load).abs());
        Err(ModelError::Damaged { difference: differences.fold(0.0, f32::max) })
    }

    fn sample(&self) -> Result<Tensor, ModelError> {
        let spec = &self.info.input;
        let picture = Picture::decode(embedded::SAMPLE, MediaType::Png, spec, JsonRange::default())
            .map_err(|error| ModelError::Run(format!("the golden sample: {error}")))?;
        Ok(Tensor::new(&picture, spec))
    }

    /// Runs one forward pass, batch of one.
    ///
    /// # Errors
    /// `Run` when the engine fails or gives a number that is not finite.
    pub fn run(&self, input: &Tensor) -> Result<Scores, ModelError> {
        let scores = self.plan.run(input).map_err(ModelError::Run)?;
        if let Some(class) = scores.iter().position(|score| !score.is_finite()) {
            return Err(ModelError::Run(format!("score {class} is {}", scores[class])));
        }
        Ok(Scores(scores))
    }

    /// Returns the median time of each node over `runs` images, in the order of `ModelInfo::nodes`.
    ///
    /// # Errors
    /// `Run` when the engine fails.
    pub fn times(&self, input: &Tensor, runs: usize) -> Result<Vec<Duration>, ModelError> {
        self.plan.times(&self.info.nodes, input, runs).map_err(ModelError::Run)
    }

    /// Loads the embedded model into a memory where one of its logits has changed since, for tests of
    /// callers that must notice that.
    ///
    /// # Errors
    /// As `load`.
    pub fn damaged() -> Result<Model, ModelError> {
        let mut model = Model::load(&ModelSource::Embedded)?;
        model.proof.0[3] += 0.75;
        Ok(model)
    }
}

/// Says what a panic of the engine means: one where memory could not be had, or a file that it can't bear.
fn panicked(digest: &str, panic: &(dyn Any + Send), doing: &str) -> ModelError {
    let digest = digest.to_string();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    if ["alloc", "capacity overflow", "LayoutError"].iter().any(|sign| text.contains(sign)) {
        return ModelError::OutOfMemory { digest };
    }
    ModelError::Invalid { digest, detail: format!("the engine gave up while {doing} it") }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Unreadable { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > MODEL_BYTES_MAX {
        return Err(ModelError::TooLarge { bytes });
    }
    // A pipe has no length, and a file may grow.
    let mut onnx = Vec::new();
    file.take(MODEL_BYTES_MAX + 1).read_to_end(&mut onnx).map_err(unreadable)?;
    if onnx.len() as u64 > MODEL_BYTES_MAX {
        return Err(ModelError::TooLarge { bytes: onnx.len() as u64 });
    }
    Ok(onnx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_picture::{Colour, Element, Layout, Spec};

    #[test]
    fn embedded_model_gives_the_logits_that_onnx_runtime_gave() {
        let model = Model::load(&ModelSource::Embedded).unwrap();
        assert!(model.info().golden_checked, "the embedded model must carry golden logits");
        assert_eq!(model.info().output.labels[3], "cat");
        assert_eq!(model.info().digest.len(), 64);
        let spec = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Rgb);
        assert_eq!(model.info().input, spec);
    }

    fn fixture(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(path)
    }

    fn logits_of(model: &Model, file: &str) -> Vec<f32> {
        let bytes = std::fs::read(fixture(file)).unwrap();
        let spec = &model.info().input;
        let picture = Picture::decode(&bytes, MediaType::Png, spec, JsonRange::default()).unwrap();
        model.run(&Tensor::new(&picture, spec)).unwrap().0
    }

    /// ONNX Runtime rounds every activation as the kernels do: what is left is the order in which
    /// floats are added behind the last convolution.
    #[track_caller]
    fn assert_near(found: &[f32], expected: &[f32], what: &str) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-4, "{what}: {found}, expected {expected}");
        }
    }

    #[test]
    fn every_kernel_gives_the_fixtures_the_logits_that_onnx_runtime_gave() {
        let text = std::fs::read_to_string(fixture("cifar10/logits.txt")).unwrap();
        assert_eq!(text.lines().count(), 10);
        for engine in Engine::all().into_iter().filter(|engine| *engine != Engine::Tract) {
            let model = Model::load_on(&ModelSource::Embedded, engine).unwrap();
            assert_eq!(model.info().kernel, engine.name());
            for line in text.lines() {
                let mut words = line.split(' ');
                let label = words.next().unwrap();
                let expected: Vec<f32> = words.map(|word| word.parse().unwrap()).collect();
                let found = logits_of(&model, &format!("cifar10/{label}.png"));
                assert_near(&found, &expected, &format!("{label} with {}", engine.name()));
            }
        }
    }

    #[test]
    fn a_net_of_many_forms_runs_where_it_can_and_gives_the_logits_of_onnx_runtime() {
        let source = ModelSource::File(fixture("qconv/mixed.onnx"));
        let text = std::fs::read_to_string(fixture("qconv/mixed.logits")).unwrap();
        let expected: Vec<f32> = text.lines().map(|line| line.parse().unwrap()).collect();
        for engine in Engine::all() {
            let model = Model::load_on(&source, engine).unwrap();
            let ours = model.info().nodes.iter().filter(|node| node.kernel != "tract").count();
            assert_eq!(
                ours,
                if engine == Engine::Tract { 0 } else { 6 },
                "{:?}",
                model.info().nodes
            );
            assert_near(&logits_of(&model, "cifar10/cat.png"), &expected, engine.name());
        }
    }

    /// What runs on the same thread next would be slow (`leave_vectors`).
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_run_leaves_no_upper_halves_of_vector_registers_in_use() {
        for engine in Engine::all() {
            let model = Model::load_on(&ModelSource::Embedded, engine).unwrap();
            let spec = &model.info.input;
            model.run(&Tensor::new(&golden::picture(spec), spec)).unwrap();
            assert_ne!(picket_kernels::upper_halves_in_use(), Some(true), "{}", engine.name());
        }
    }

    #[test]
    fn a_binary_whose_answer_to_the_golden_sample_is_wrong_refuses_its_model() {
        assert!(Model::embedded(embedded::SAMPLE_LOGITS, Engine::best()).is_ok());
        let mut logits: Vec<f32> =
            embedded::SAMPLE_LOGITS.lines().map(|line| line.parse().unwrap()).collect();
        logits[3] += 2e-3;
        let wrong: Vec<String> = logits.iter().map(f32::to_string).collect();
        let wrong = wrong.join("\n");
        let error = Model::embedded(&wrong, Engine::best()).err().expect("2e-3 off is too much");
        assert!(matches!(error, ModelError::Golden { class: 3, .. }), "{error}");
    }

    #[test]
    fn the_golden_sample_gives_the_same_bits_every_time_and_on_every_thread() {
        let model = Model::load(&ModelSource::Embedded).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| model.prove().unwrap()));
            }
        });
        let error = Model::damaged().unwrap().prove().unwrap_err();
        let text = "the golden sample's logits differ by 0.75 from those at load: memory or model \
                    is damaged";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn corrupt_models_are_refused_with_a_reason() {
        let truncated = &embedded::MODEL[..embedded::MODEL.len() / 2];
        for (what, bytes) in
            [("empty", &b""[..]), ("text", &b"not a model"[..]), ("truncated", truncated)]
        {
            match Model::from_onnx(bytes, None, Engine::best()) {
                Err(ModelError::Invalid { detail, .. }) => assert!(!detail.is_empty(), "{what}"),
                Err(other) => panic!("{what}: {other}"),
                Ok(_) => panic!("{what} was accepted"),
            }
        }
    }

    #[test]
    fn damaged_weights_fail_the_golden_check() {
        let mut damaged = embedded::MODEL.to_vec();
        // Within the weights of one layer, so that the file can still be read.
        let within = damaged.len() / 4;
        for byte in &mut damaged[within..within + 20_000] {
            *byte ^= 0x55;
        }
        let error = Model::from_onnx(&damaged, None, Engine::best())
            .err()
            .expect("damaged weights were accepted");
        assert!(matches!(error, ModelError::Golden { .. }), "{error}");
    }

    #[test]
    fn missing_and_oversized_files_are_refused_before_they_are_parsed() {
        let missing = Model::load(&ModelSource::File("/nonexistent/model.onnx".into()));
        assert!(matches!(missing, Err(ModelError::Unreadable { .. })));

        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MODEL_BYTES_MAX + 1).unwrap();
        let oversized = Model::load(&ModelSource::File(file.path().into()));
        assert!(matches!(oversized, Err(ModelError::TooLarge { .. })));
    }
}
