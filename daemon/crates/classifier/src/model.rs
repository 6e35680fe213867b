//! A model: load, digest, golden check, run → Scores. Knows nothing of images on the wire, of
//! verdicts or of the log, nor which engine computes it.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::card::{Bundle, Draft, GoldenPicture, settle_output, warnings};
use crate::engine::Engine;
use crate::error::{CardError, FileFault, ModelError};
use crate::golden::Expected;
use crate::graph::{Parsed, prepare};
use crate::info::{ModelInfo, VerdictDefaults};
use crate::output::Kind;
use crate::run::{Plan, Times, unable};
use crate::scores::Scores;
use crate::{embedded, golden};
use picket_picture::{DecodeError, JsonRange, MediaType, Picture, Resize, Spec, Tensor};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    Embedded,
    /// An ONNX file, with what is beside it, or a bundle's directory.
    File(PathBuf),
}

/// The picture that proves a model.
enum Sample {
    /// As a file holds it.
    Encoded(Cow<'static, [u8]>),
    /// The one of `golden::picture`.
    Drawn,
}

/// The same for those whose softmax is in the graph.
const QUANTISED_SLACK: f32 = 0.2;
/// How near to 1 the sum of logits must be to be no chance.
const EXACT_SLACK: f32 = 1e-4;
/// How far the sum of a picture's probabilities may be from 1, and each of them from 0..=1.
const PROBABILITY_SLACK: f32 = 0.01;

/// A loaded model. Shared by every worker: a run keeps its state to itself.
pub struct Model {
    plan: Plan,
    info: ModelInfo,
    sample: Sample,
    /// Scores of the golden sample, computed at load.
    proof: Scores,
    /// Whether the graph itself makes probabilities of the scores, so that their sum need not be asked for.
    ends_in_softmax: bool,
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
            ModelSource::File(path) => Model::from_bundle(Bundle::open(path)?, engine),
        }
    }

    fn embedded(sample_logits: &str, engine: Engine) -> Result<Model, ModelError> {
        let mut model = Model::from_bundle(Bundle::bare(embedded::MODEL), engine)?;
        let stated = sample_logits.trim_end().replace('\n', ",");
        let scores = golden::parse(&stated).expect("golden.py wrote 10 numbers");
        model.take_sample(Sample::Encoded(embedded::SAMPLE.into()))?;
        let tolerance = embedded::SAMPLE_TOLERANCE;
        let expected = Expected { picture: None, scores: &scores, tolerance };
        golden::check(&model.info.digest, &model.proof, &expected)?;
        Ok(model)
    }

    pub(crate) fn from_bundle(bundle: Bundle, engine: Engine) -> Result<Model, ModelError> {
        let started = Instant::now();
        let digest = bundle.digest(&[]).expect("no other file is read for it");
        let unfit = |detail: String| ModelError::Unfit { digest: digest.clone(), detail };
        let invalid = |detail: String| ModelError::Invalid { digest: digest.clone(), detail };
        // tract trusts its input: a damaged graph may panic rather than fail.
        let parsed = catch_unwind(AssertUnwindSafe(|| prepare(&bundle, engine)))
            .map_err(|panic| panicked(&digest, &*panic, "reading"))?
            .map_err(|error| match (error.downcast_ref(), error.downcast_ref()) {
                (Some(CardError(said)), _) => unfit(said.clone()),
                (_, Some(FileFault(said))) => invalid(said.clone()),
                _ => invalid(unable(&error)),
            })?;
        let whole = bundle.digest(&parsed.external).map_err(unfit)?;
        let golden = parsed.golden.clone();
        // Runtimes round sums differently: of quantised scores that is a whole step.
        let tolerance = golden::TOLERANCE.max(1.5 * parsed.step.unwrap_or(0.0));
        let mut model = Model::new(parsed, &bundle, whole)?;
        let proven = catch_unwind(AssertUnwindSafe(|| {
            model.first_runs(golden.map(|scores| (scores, tolerance)), bundle.goldens)
        }));
        proven.map_err(|panic| panicked(&digest, &*panic, "running"))??;
        model.info.load_time = started.elapsed();
        Ok(model)
    }

    fn new(parsed: Parsed, bundle: &Bundle, digest: String) -> Result<Model, ModelError> {
        let mut draft = parsed.draft;
        let output = settle_output(&mut draft, parsed.scores, parsed.tail);
        let output =
            output.map_err(|detail| ModelError::Unfit { digest: digest.clone(), detail })?;
        let version = draft.version.as_ref().map(|stated| stated.value.clone());
        let info = ModelInfo {
            name: draft.name.as_ref().map(|stated| stated.value.clone()),
            version: version.unwrap_or_else(|| digest[..12].to_string()),
            input: parsed.input,
            verdict: verdict(&draft),
            card: draft.lines(),
            card_warnings: warnings(&draft, bundle, parsed.golden.is_some()),
            output,
            bytes: bundle.onnx.len(),
            load_time: Duration::ZERO,
            run_time: Duration::ZERO,
            golden_checked: false,
            golden_pictures: bundle.goldens.len(),
            kernel: parsed.kernel,
            convolutions: parsed.convolutions,
            stock: parsed.stock,
            nodes: parsed.nodes,
            run_bytes: parsed.run_bytes,
            digest,
        };
        let (sample, proof) = (Sample::Drawn, Scores(Vec::new()));
        let ends_in_softmax = parsed.tail == Some(Kind::Probabilities);
        Ok(Model { plan: parsed.plan, info, sample, proof, ends_in_softmax })
    }

    /// Runs what the model states scores for, and takes the first picture of it as its sample.
    fn first_runs(
        &mut self,
        golden: Option<(Vec<f32>, f32)>,
        goldens: Vec<GoldenPicture>,
    ) -> Result<(), ModelError> {
        self.take_sample(Sample::Drawn)?;
        self.check_probabilities()?;
        if let Some((scores, tolerance)) = golden {
            let expected = Expected { picture: None, scores: &scores, tolerance };
            golden::check(&self.info.digest, &self.proof, &expected)?;
            self.info.golden_checked = true;
        }
        for (at, picture) in goldens.into_iter().enumerate() {
            let GoldenPicture { name, bytes, logits, tolerance } = picture;
            let input = self.decode(&bytes).map_err(|error| {
                self.unfit(ModelError::Run(format!("the golden picture {name:?}: {error}")))
            })?;
            let found = self.run(&input).map_err(|error| self.unfit(error))?;
            let tolerance = tolerance.unwrap_or(golden::tolerance(self.info.output.kind));
            let expected = Expected { picture: Some(&name), scores: &logits, tolerance };
            golden::check(&self.info.digest, &found, &expected)?;
            self.info.golden_checked = true;
            if at == 0 {
                self.take_sample(Sample::Encoded(bytes.into()))?;
            }
        }
        Ok(())
    }

    /// Whatever fails while a model is loaded is a fault of its file.
    fn unfit(&self, error: ModelError) -> ModelError {
        match error {
            ModelError::Run(detail) => {
                ModelError::Unfit { digest: self.info.digest.clone(), detail }
            }
            other => other,
        }
    }

    fn take_sample(&mut self, sample: Sample) -> Result<(), ModelError> {
        self.sample = sample;
        let input = self.sample().map_err(|error| self.unfit(error))?;
        let started = Instant::now();
        self.proof = self.run(&input).map_err(|error| self.unfit(error))?;
        self.info.run_time = started.elapsed();
        Ok(())
    }

    /// Checks that what is said to be probabilities can be some.
    fn check_probabilities(&self) -> Result<(), ModelError> {
        let scores = &self.proof.0;
        let (kind, sum) = (self.info.output.kind, scores.iter().sum::<f32>());
        // Quantised probabilities of many classes are rounded to 0 one by one.
        let slack = if self.ends_in_softmax { QUANTISED_SLACK } else { PROBABILITY_SLACK };
        let possible = -PROBABILITY_SLACK..=1.0 + PROBABILITY_SLACK;
        let outside = scores.iter().find(|score| !possible.contains(*score));
        let detail = match (kind, outside) {
            (Kind::Probabilities | Kind::Sigmoid, Some(score)) => {
                format!("its scores are said to be probabilities, and the first run gave {score}")
            }
            // Softmax of what are probabilities already would level them.
            (Kind::Logits, None) if scores.len() > 1 && (sum - 1.0).abs() <= EXACT_SLACK => {
                "its scores are taken for logits, and those of the first run are probabilities, which \
                 sum to 1; add to model.toml: [output] kind = \"probabilities\""
                    .to_string()
            }
            (Kind::Logits | Kind::SigmoidLogits, _) => return Ok(()),
            (Kind::Probabilities, None) if (sum - 1.0).abs() > slack => {
                format!(
                    "its scores are said to be probabilities, and those of the first run sum to {sum:.3}, \
                 not 1"
                )
            }
            _ => return Ok(()),
        };
        Err(self.unfit(ModelError::Run(detail)))
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
        match &self.sample {
            Sample::Drawn => Ok(Tensor::new(&golden::picture(spec), spec)),
            Sample::Encoded(bytes) => self
                .decode(bytes)
                .map_err(|error| ModelError::Run(format!("the golden sample: {error}"))),
        }
    }

    /// Makes of a picture what the model takes, by no shortcut.
    fn decode(&self, bytes: &[u8]) -> Result<Tensor, DecodeError> {
        let input = self.info.input;
        let spec = Spec { resize: Resize { exact: true, ..input.resize }, ..input };
        let media = MediaType::sniff(bytes, &spec)?;
        let picture = Picture::decode(bytes, media, &spec, JsonRange::default())?;
        Ok(Tensor::new(&picture, &spec))
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

    /// Returns where the time of a run goes, over `runs` images.
    ///
    /// # Errors
    /// `Run` when the engine fails.
    pub fn times(&self, input: &Tensor, runs: usize) -> Result<Times, ModelError> {
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
pub(crate) fn panicked(digest: &str, panic: &(dyn Any + Send), doing: &str) -> ModelError {
    let digest = digest.to_string();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    if ["alloc", "capacity overflow", "LayoutError"].iter().any(|sign| text.contains(sign)) {
        return ModelError::OutOfMemory { digest };
    }
    ModelError::Invalid { digest, detail: format!("the engine gave up while {doing} it") }
}

/// Returns the verdicts that a model's card asks for.
fn verdict(draft: &Draft) -> VerdictDefaults {
    let uncertain = draft.uncertain_between.as_ref().map(|stated| stated.value);
    VerdictDefaults {
        defect_labels: draft.defect_labels.as_ref().map(|s| s.value.clone()).unwrap_or_default(),
        uncertain_between: uncertain.map(|[low, high]| (low, high)),
        thresholds: draft.thresholds.as_ref().map(|s| s.value.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MODEL_BYTES_MAX;
    use crate::run::Node;
    use std::path::Path;

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
    fn a_net_of_many_forms_runs_in_integers_and_gives_the_logits_of_onnx_runtime() {
        let source = ModelSource::File(fixture("qconv/mixed.onnx"));
        let text = std::fs::read_to_string(fixture("qconv/mixed.logits")).unwrap();
        let expected: Vec<f32> = text.lines().map(|line| line.parse().unwrap()).collect();
        for engine in Engine::all() {
            let model = Model::load_on(&source, engine).unwrap();
            let convolves = |node: &&Node| node.kernel == engine.name() && node.products.is_some();
            let ours = model.info().nodes.iter().filter(convolves).count();
            let expected_ours = if engine == Engine::Tract { 0 } else { 6 };
            assert_eq!(ours, expected_ours, "{:?}", model.info().nodes);
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
            match Model::from_bundle(Bundle::bare(bytes), Engine::best()) {
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
        let error = Model::from_bundle(Bundle::bare(damaged), Engine::best())
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
