//! An ONNX classifier: load, digest, golden check, run → Logits. With qconv, its convolutions, the
//! only place that names tract. Knows nothing of images on the wire, of verdicts or of the log.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use crate::engine::Engine;
use picket_picture::{IMAGE_BYTES, JsonRange, MediaType, Picture};
use picket_picture::{Spec, Values};

use crate::file::Convolutions;
use crate::graph::{Node, Parsed, one_line, prepare, times};

/// Classes of CIFAR-10 (Krizhevsky 2009), the only label space the contract has.
pub const CLASSES: usize = 10;

/// Largest model file that is read, bytes: 200 times the embedded model, and still within the
/// memory of a 512 MB board while it is parsed.
pub const MODEL_BYTES_MAX: u64 = 64 << 20;

/// Longest label, bytes: every record of the log holds one.
const LABEL_BYTES_MAX: usize = 128;

/// Largest accepted difference between a golden logit in a file and ours. Runtimes round requantised
/// values differently by one step; a damaged file or a wrong kernel is off by whole units.
const GOLDEN_TOLERANCE: f32 = 0.25;

/// The model compiled into the binary; its card is docs/model.md.
const EMBEDDED: &[u8] = include_bytes!("../embedded/cifar10-int8.onnx");

/// The picture that proves a model: at load, and again and again while it serves.
const SAMPLE: &[u8] = include_bytes!("../embedded/golden.png");

/// What ONNX Runtime 1.32.0 gave for it with the embedded model (daemon/training/golden.py).
const SAMPLE_LOGITS: &str = include_str!("../embedded/golden.logits");

/// Largest accepted difference from `SAMPLE_LOGITS`: two runtimes that round alike differ by the
/// order in which they add floats, some 1e-6.
const SAMPLE_TOLERANCE: f32 = 1e-4;

const CIFAR10_LABELS: [&str; CLASSES] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    Embedded,
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot read model {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("model is {bytes} bytes, at most {MODEL_BYTES_MAX} are accepted")]
    TooLarge { bytes: u64 },
    #[error("model {digest} is not a usable ONNX file: {detail}")]
    Invalid { digest: String, detail: String },
    #[error("model {digest} does not fit: {detail}")]
    Unfit { digest: String, detail: String },
    #[error(
        "model {digest} failed its golden check: logit {class} is {found:.3}, its card says {expected:.3}"
    )]
    Golden { digest: String, class: usize, found: f32, expected: f32 },
    #[error(
        "the golden sample's logits differ by {difference} from those at load: memory or model is \
         damaged"
    )]
    Damaged { difference: f32 },
    #[error("inference failed: {0}")]
    Run(String),
}

/// What a model says about itself, and what was measured while it was loaded.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Name in the file's metadata, if it states one.
    pub name: Option<String>,
    /// Version in the file's metadata, else the digest's first 12 digits.
    pub version: String,
    /// SHA-256 of the file, lower-case hex.
    pub digest: String,
    /// One label for each class, in logit order.
    pub labels: Arc<[String; CLASSES]>,
    pub input: Spec,
    pub bytes: usize,
    /// Parse, optimise, first run and golden check together.
    pub load_time: Duration,
    /// Whether the file carried golden logits, and so was checked against them.
    pub golden_checked: bool,
    /// What computes the convolutions: a path of ours, or tract where it has them all.
    pub kernel: &'static str,
    /// As the file has them.
    pub convolutions: Convolutions,
    /// One image, at load.
    pub run_time: Duration,
    /// The graph in the order in which it runs.
    pub nodes: Vec<Node>,
}

impl ModelInfo {
    /// What it costs that convolutions are not computed by our kernels; nothing where all are.
    pub fn stock_warning(&self) -> Option<String> {
        let all = self.convolutions.all();
        let stock = all - self.nodes.iter().filter(|node| node.products.is_some()).count().min(all);
        let form = match self.convolutions {
            _ if stock == 0 => return None,
            Convolutions { qdq: 1.., .. } => "QDQ, computed as floats",
            Convolutions { float: 1.., .. } => "f32",
            _ => "integers of a form that no kernel takes",
        };
        let ms = self.run_time.as_secs_f64() * 1e3;
        Some(format!(
            "{stock} of {all} convolutions are {form}, and run on the stock engine: {ms:.2} ms an \
             image here; as QLinearConv they would take a fraction of that (docs/kernels.md)"
        ))
    }
}

/// Unnormalised scores, one for each class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logits(pub [f32; CLASSES]);

/// A loaded model. Shared by every worker: a run keeps its state to itself.
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    info: ModelInfo,
    /// Of the golden sample, at load.
    proof: Logits,
}

impl Model {
    /// Reads, checks and warms up a model, so that its first request is as fast as the next.
    ///
    /// # Errors
    /// Unreadable or over `MODEL_BYTES_MAX`; not ONNX that tract runs; not `[N,3,32,32]` or
    /// `[N,32,32,3]` of u8, i8 or f32 to 10 logits; golden logits that differ.
    pub fn load(source: &ModelSource) -> Result<Model, ModelError> {
        Model::load_on(source, Engine::best())
    }

    /// The same with convolutions by another engine than the fastest.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_on(source: &ModelSource, engine: Engine) -> Result<Model, ModelError> {
        match source {
            ModelSource::Embedded => Model::embedded(SAMPLE_LOGITS, engine),
            ModelSource::File(path) => Model::from_onnx(&read_bounded(path)?, engine),
        }
    }

    fn embedded(sample_logits: &str, engine: Engine) -> Result<Model, ModelError> {
        let model = Model::from_onnx(EMBEDDED, engine)?;
        let stated = sample_logits.trim_end().replace('\n', ",");
        let expected = golden_logits(&stated).expect("golden.py wrote 10 numbers");
        check_golden(&model.info.digest, &model.proof, &expected, SAMPLE_TOLERANCE)?;
        Ok(model)
    }

    fn from_onnx(onnx: &[u8], engine: Engine) -> Result<Model, ModelError> {
        let started = Instant::now();
        let digest: String =
            Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        let invalid = |detail: String| ModelError::Invalid { digest: digest.clone(), detail };
        // tract trusts its input: a damaged graph may panic rather than fail.
        let parsed = catch_unwind(AssertUnwindSafe(|| prepare(onnx, engine)))
            .map_err(|_| invalid("the engine panicked while reading it".into()))?
            .map_err(|error| invalid(one_line(&error)))?;

        let unfit = |detail: String| ModelError::Unfit { digest: digest.clone(), detail };
        let labels = labels(parsed.metadata.labels.as_deref()).map_err(unfit)?;
        let golden = parsed.metadata.golden.as_deref().map(golden_logits).transpose();
        let golden = golden.map_err(unfit)?;
        let mut model = Model::new(parsed, labels, &digest, onnx.len());
        model.info.golden_checked = golden.is_some();
        let proven = catch_unwind(AssertUnwindSafe(|| model.first_runs(golden.as_ref())));
        proven.map_err(|_| unfit("the engine panicked while running it".into()))??;
        model.info.load_time = started.elapsed();
        Ok(model)
    }

    fn new(parsed: Parsed, labels: [String; CLASSES], digest: &str, bytes: usize) -> Model {
        let info = ModelInfo {
            name: parsed.metadata.name,
            version: parsed.metadata.version.unwrap_or_else(|| digest[..12].to_string()),
            labels: Arc::new(labels),
            input: parsed.input,
            bytes,
            load_time: Duration::ZERO,
            run_time: Duration::ZERO,
            golden_checked: false,
            kernel: parsed.kernel,
            convolutions: parsed.convolutions,
            nodes: parsed.nodes,
            digest: digest.to_string(),
        };
        Model { plan: parsed.plan, info, proof: Logits([0.0; CLASSES]) }
    }

    fn first_runs(&mut self, golden: Option<&[f32; CLASSES]>) -> Result<(), ModelError> {
        let digest = self.info.digest.clone();
        let unfit = |error: ModelError| match error {
            ModelError::Run(detail) => ModelError::Unfit { digest: digest.clone(), detail },
            other => other,
        };
        let input = picket_picture::Tensor::new(&golden_image(), self.info.input);
        let found = self.run(&input).map_err(unfit)?;
        if let Some(expected) = golden {
            check_golden(&digest, &found, expected, GOLDEN_TOLERANCE)?;
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
        let pairs = || found.0.iter().zip(self.proof.0);
        if pairs().all(|(found, at_load)| found.to_bits() == at_load.to_bits()) {
            return Ok(());
        }
        let differences = pairs().map(|(found, at_load)| (found - at_load).abs());
        Err(ModelError::Damaged { difference: differences.fold(0.0, f32::max) })
    }

    fn sample(&self) -> Result<picket_picture::Tensor, ModelError> {
        let image = Picture::decode(SAMPLE, MediaType::Png, JsonRange::default())
            .map_err(|error| ModelError::Run(format!("the golden sample: {error}")))?;
        Ok(picket_picture::Tensor::new(&image, self.info.input))
    }

    /// One forward pass, batch of one.
    ///
    /// # Errors
    /// `Run` when the engine fails or answers with anything but 10 finite numbers.
    pub fn run(&self, input: &picket_picture::Tensor) -> Result<Logits, ModelError> {
        let run = |error: TractError| ModelError::Run(one_line(&error));
        let outputs = self.plan.run(tvec!(tensor(input).map_err(run)?.into()));
        picket_kernels::leave_vectors();
        let outputs = outputs.map_err(run)?;
        let output = outputs[0].cast_to::<f32>().map_err(run)?;
        let values = output.view().as_slice::<f32>().map_err(run)?;
        let logits: [f32; CLASSES] = values
            .try_into()
            .map_err(|_| ModelError::Run(format!("{} logits, expected {CLASSES}", values.len())))?;
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(ModelError::Run(format!("logit {class} is {}", logits[class])));
        }
        Ok(Logits(logits))
    }

    /// The median time of each node over `runs` images, in the order of `ModelInfo::nodes`.
    ///
    /// # Errors
    /// `Run` when the engine fails.
    pub fn times(
        &self,
        input: &picket_picture::Tensor,
        runs: usize,
    ) -> Result<Vec<Duration>, ModelError> {
        let run = |error: TractError| ModelError::Run(one_line(&error));
        times(&self.plan, &self.info.nodes, &tensor(input).map_err(run)?, runs).map_err(run)
    }
}

fn tensor(input: &picket_picture::Tensor) -> TractResult<Tensor> {
    let shape = input.layout.shape();
    match &input.values {
        Values::U8(values) => Tensor::from_shape(&shape, values),
        Values::I8(values) => Tensor::from_shape(&shape, values),
        Values::F32(values) => Tensor::from_shape(&shape, values),
    }
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

fn labels(stated: Option<&str>) -> Result<[String; CLASSES], String> {
    let Some(stated) = stated else {
        return Ok(CIFAR10_LABELS.map(str::to_string));
    };
    let labels: Vec<String> = stated.split(',').map(|label| label.trim().to_string()).collect();
    if let Some(label) = labels.iter().find(|label| !(1..=LABEL_BYTES_MAX).contains(&label.len())) {
        let bytes = label.len();
        return Err(format!(
            "it has a label of {bytes} bytes, 1 to {LABEL_BYTES_MAX} are possible"
        ));
    }
    let count = labels.len();
    labels.try_into().map_err(|_| format!("it states {count} labels, exactly {CLASSES} are needed"))
}

fn golden_logits(stated: &str) -> Result<[f32; CLASSES], String> {
    let logits: Result<Vec<f32>, _> = stated.split(',').map(|text| text.trim().parse()).collect();
    let logits = logits.map_err(|error| format!("its golden_logits are not numbers: {error}"))?;
    let count = logits.len();
    logits
        .try_into()
        .map_err(|_| format!("it states {count} golden logits, exactly {CLASSES} are needed"))
}

/// The image that daemon/training/stamp.py runs to state a model's golden logits.
fn golden_image() -> Picture {
    let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (31 * i * i + 7 * i) as u8).collect();
    Picture::from_rgb8(&bytes).expect("it holds exactly IMAGE_BYTES bytes")
}

fn check_golden(
    digest: &str,
    found: &Logits,
    expected: &[f32; CLASSES],
    tolerance: f32,
) -> Result<(), ModelError> {
    for (class, (&found, &expected)) in found.0.iter().zip(expected).enumerate() {
        if (found - expected).abs() > tolerance {
            return Err(ModelError::Golden { digest: digest.to_string(), class, found, expected });
        }
    }
    Ok(())
}

impl Model {
    /// The embedded model in a memory where one of its logits has changed since it was loaded, for the
    /// tests of whoever must notice that.
    ///
    /// # Errors
    /// As `load`.
    pub fn damaged() -> Result<Model, ModelError> {
        let mut model = Model::load(&ModelSource::Embedded)?;
        model.proof.0[3] += 0.75;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_picture::{Element, Layout};

    #[test]
    fn embedded_model_gives_the_logits_that_onnx_runtime_gave() {
        let model = Model::load(&ModelSource::Embedded).unwrap();
        assert!(model.info().golden_checked, "the embedded model must carry golden logits");
        assert_eq!(model.info().labels[3], "cat");
        assert_eq!(model.info().digest.len(), 64);
        assert_eq!(model.info().input, Spec { element: Element::U8, layout: Layout::Nchw });
    }

    fn fixture(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(path)
    }

    fn logits_of(model: &Model, picture: &str) -> [f32; CLASSES] {
        let bytes = std::fs::read(fixture(picture)).unwrap();
        let image = Picture::decode(&bytes, MediaType::Png, JsonRange::default()).unwrap();
        model.run(&picket_picture::Tensor::new(&image, model.info().input)).unwrap().0
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
        assert_eq!(text.lines().count(), CLASSES);
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
            model.run(&picket_picture::Tensor::new(&golden_image(), model.info.input)).unwrap();
            assert_ne!(picket_kernels::upper_halves_in_use(), Some(true), "{}", engine.name());
        }
    }

    #[test]
    fn a_binary_whose_answer_to_the_golden_sample_is_wrong_refuses_its_model() {
        assert!(Model::embedded(SAMPLE_LOGITS, Engine::best()).is_ok());
        let mut logits: Vec<f32> =
            SAMPLE_LOGITS.lines().map(|line| line.parse().unwrap()).collect();
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
        let truncated = &EMBEDDED[..EMBEDDED.len() / 2];
        for (what, bytes) in
            [("empty", &b""[..]), ("text", &b"not a model"[..]), ("truncated", truncated)]
        {
            match Model::from_onnx(bytes, Engine::best()) {
                Err(ModelError::Invalid { detail, .. }) => assert!(!detail.is_empty(), "{what}"),
                Err(other) => panic!("{what}: {other}"),
                Ok(_) => panic!("{what} was accepted"),
            }
        }
    }

    #[test]
    fn damaged_weights_fail_the_golden_check() {
        let mut damaged = EMBEDDED.to_vec();
        // Within the weights of one layer, so that the file can still be read.
        let within = damaged.len() / 4;
        for byte in &mut damaged[within..within + 20_000] {
            *byte ^= 0x55;
        }
        let error = Model::from_onnx(&damaged, Engine::best())
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
