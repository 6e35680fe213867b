//! What a model says about itself, through the program: each source, what holds when they differ, what is
//! refused, and what is written back (daemon/tests/data/models/make.py makes the files).

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{cat_png, fixture, picket, run, start_with, stderr, stdout};

/// A bundle: a stored model and files with their texts.
struct Bundle(TempDir);

impl Bundle {
    fn new(model: &str, files: &[(&str, &str)]) -> Bundle {
        let bundle = Bundle(tempfile::tempdir().unwrap());
        std::fs::copy(stored(model), bundle.path("model.onnx")).unwrap();
        for (name, text) in files {
            bundle.write(name, text.as_bytes());
        }
        bundle
    }

    fn toml(model: &str, text: &str) -> Bundle {
        Bundle::new(model, &[("model.toml", text)])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn check(&self) -> Output {
        run(["model", "check", self.0.path().to_str().unwrap()])
    }

    /// The line of a check that must fail.
    #[track_caller]
    fn refusal(&self) -> String {
        let output = self.check();
        let text = stderr(&output).to_string();
        assert_eq!(output.status.code(), Some(65), "{}{text}", stdout(&output));
        assert_eq!(text.lines().count(), 1, "one line says why: {text}");
        text
    }

    #[track_caller]
    fn inspect(&self) -> Value {
        inspect(self.0.path())
    }
}

fn stored(model: &str) -> PathBuf {
    fixture("models").join(format!("{model}.onnx"))
}

#[track_caller]
fn inspect(path: &Path) -> Value {
    let output = run(["model", "inspect", "--json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(stdout(&output)).unwrap()
}

/// A value of the card and its source.
fn value(inspected: &Value, key: &str) -> (String, String) {
    let card = inspected["card"].as_array().unwrap();
    let line = card.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    let text = |field: &str| line[field].as_str().unwrap().to_string();
    (text("value"), text("source"))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const SCALE: &str = "[input]\nscale = '0..1'\n";

#[test]
fn a_model_of_floats_is_refused_until_its_scale_is_stated() {
    let output = run(["model", "check", stored("unscaled").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65));
    let needed = "its input is f32 and nobody states the scale of its pixels; add to model.toml: \
                  [input] scale = \"0..255\", \"0..1\" or \"-1..1\"";
    assert!(stderr(&output).contains(needed), "{}", stderr(&output));

    let output = Bundle::toml("unscaled", SCALE).check();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("warning: no labels: its classes are called \"class 0\" to"), "{text}");
    assert!(text.contains("warning: no golden pictures: "), "{text}");
}

#[test]
fn labels_that_two_classes_share_and_a_card_that_two_files_share_are_warned_of() {
    let toml = "[input]\nscale = '0..1'\n[output]\nlabels = ['crane', 'crane']";
    let bundle = Bundle::toml("one-score", &format!("{toml}\nkind = 'sigmoid'"));
    std::fs::copy(stored("one-score"), bundle.path("other.onnx")).unwrap();
    let output = bundle.check();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        text.contains("warning: two classes are called \"crane\" (model.toml [output] labels)")
    );
    assert!(
        text.contains("warning: several ONNX files are beside model.toml, and it holds"),
        "{text}"
    );
}

#[test]
fn a_start_with_a_card_that_is_wrong_ends_with_65_and_says_why() {
    for toml in ["[input]\nscale = '0..2'", "[inptu]", "[input", "[[golden]]\nimage = 3"] {
        let bundle = Bundle::toml("unscaled", toml);
        let state = tempfile::tempdir().unwrap();
        let mut command = picket();
        command.args(["serve", "--message-level", "error", "--state-dir"]).arg(state.path());
        command.args(["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
        let output = command.arg("--model-path").arg(bundle.0.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{toml}: {}", stderr(&output));
        assert!(stderr(&output).contains("model.toml "), "{}", stderr(&output));
    }
}

#[test]
fn each_source_states_its_values_and_is_named_beside_them() {
    let scaled = |model: &str| Bundle::toml(model, SCALE).inspect();
    let names = inspect(&stored("names"));
    assert_eq!(names["labels"][9], "weld_9");
    assert_eq!(value(&names, "labels").1, "ONNX metadata names");
    assert_eq!(value(&names, "mode").0, "\"shorter-side\"");
    let id2label = scaled("id2label");
    assert_eq!(id2label["labels"][9], "weld_9");
    let scale = ("\"0..1\"".to_string(), "model.toml [input] scale".to_string());
    assert_eq!(value(&id2label, "scale"), scale);
    assert_eq!(scaled("two-classes")["labels"], json!(["ok", "defect"]));
    assert_eq!(value(&scaled("grey"), "colour"), ("\"grey\"".into(), "the graph".into()));
    assert_eq!(value(&scaled("unscaled"), "filter"), ("\"area\"".into(), "default".into()));

    let processor = r#"{"image_processor_type": "ViTImageProcessor", "size": 64, "resample": 3,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}"#;
    let config = r#"{"id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e", "5": "f",
        "6": "g", "7": "h", "8": "i", "9": "tench, Tinca tinca"}}"#;
    let files = [("preprocessor_config.json", processor), ("config.json", config)];
    let bundle = Bundle::new("open-axes", &files);
    let inspected = bundle.inspect();
    assert_eq!(inspected["input"], "F32 [1, 3, 64, 64]");
    assert_eq!(inspected["labels"][9], "tench, Tinca tinca");
    assert_eq!(value(&inspected, "mean").1, "preprocessor_config.json image_mean");
    assert_eq!(value(&inspected, "filter").0, "\"bicubic\"");

    let timm = r#"{"pretrained_cfg": {"input_size": [3, 96, 96], "crop_pct": 0.96, "mean": [0.5],
        "std": [0.5], "interpolation": "bilinear"}, "label_names": ["a", "b"]}"#;
    let labels = "\u{feff}ok\r\nd\u{e9}faut\r\n\r\n";
    let bundle = Bundle::new("two-classes", &[("config.json", timm), ("labels.txt", labels)]);
    let text = bundle.refusal();
    let differ = "labels.txt is \"ok\" at 0, but config.json label_names is \"a\" at 0: they must";
    assert!(text.contains(differ), "{text}");
    let bundle = Bundle::new("unscaled", &[("labels.txt", labels), ("model.toml", SCALE)]);
    let text = bundle.refusal();
    assert!(text.contains("labels.txt has 2 labels, exactly 10 are needed"), "{text}");
}

#[test]
fn another_program_s_config_json_changes_nothing() {
    let bundle = Bundle::new("names", &[("config.json", r#"{"port": 8080}"#)]);
    let alone = inspect(&stored("names"));
    assert_eq!(bundle.inspect()["digest"], alone["digest"]);
    bundle.write("config.json", "port: 8080");
    assert!(bundle.refusal().contains("config.json is not JSON"), "{}", bundle.refusal());
}

#[test]
fn sources_that_differ_are_an_error_that_names_both() {
    for (model, toml, expected) in [
        (
            "two-classes",
            "[input]\nscale = '0..1'\n[output]\nlabels = ['ok', 'dent']",
            "model.toml [output] labels is \"dent\" at 1, but ONNX metadata labels is \"defect\" at 1",
        ),
        (
            "f32",
            SCALE,
            "[input] scale is \"0..1\", but ONNX metadata Image.NominalPixelRange is \"0..255\"",
        ),
        (
            "unscaled",
            "[input]\nscale = '0..1'\nsize = [64, 64]",
            "[input] size is [64, 64], but the graph's input is [?, 3, 32, 32]: they must agree",
        ),
        (
            "grey",
            "[input]\nscale = '0..1'\ncolour = 'rgb'",
            "[input] colour is \"rgb\", but the graph's input is [?, 1, 32, 32], of 1 channels",
        ),
        (
            "softmax",
            "[input]\nscale = '0..1'\n[output]\nkind = 'logits'",
            "[output] kind is \"logits\", but the graph ends in a Softmax: they must agree",
        ),
    ] {
        let text = Bundle::toml(model, toml).refusal();
        assert!(text.contains(expected), "{text:?} lacks {expected:?}");
    }
}

#[test]
fn what_a_card_can_not_say_is_refused_by_name() {
    for (model, toml, expected) in [
        (
            "qdq",
            "[input]\ncolour = 'cmyk'",
            "[input] colour is \"cmyk\": \"rgb\", \"bgr\" or \"grey\"",
        ),
        ("qdq", "[input]\nsides = 3", "model.toml line 2 (sides = 3): unknown field `sides`"),
        ("qdq", "[input]\nmean = [0.5]", "mean is [0.5], but the graph's input is u8, which takes"),
        (
            "qdq",
            SCALE,
            "scale is \"0..1\", but the graph's input is u8, which takes pixels as they",
        ),
        ("qdq", "[resize]\nfilter = 'lanczos'", "[resize] filter is \"lanczos\": \"area\","),
        ("qdq", "[output]\nlabels = ['a']", "labels has 1 labels, exactly 10 are needed"),
        ("qdq", "[output]\nlabels_file = 'none.txt'", "names \"none.txt\", which is not there"),
        ("qdq", "[output]\nlabels_file = '../x'", "labels_file is \"../x\": a file in the bundle"),
        (
            "qdq",
            "[verdict]\ndefect_labels = ['rust']",
            "names \"rust\", which is none of the model",
        ),
        (
            "qdq",
            "[verdict]\nthresholds = { rust = 0.5 }",
            "thresholds names \"rust\", which is none",
        ),
        (
            "qdq",
            "[[golden]]\nimage = 'no.png'\nlogits = [1]",
            "names \"no.png\", which is not there",
        ),
        ("qdq", "[output]\ntemperature = -1", "temperature is -1: a positive number is needed"),
        (
            "unscaled",
            "[input]\nscale = '0..1'\n[output]\nkind = 'probabilities'",
            "its scores are said to be probabilities, and ",
        ),
        (
            "softmax",
            "[input]\nscale = '0..1'\n[output]\ntemperature = 2",
            "temperature is 2, but the model gives probabilities, which have none",
        ),
        (
            "one-score",
            SCALE,
            "it gives one score and nobody states what it is; add to model.toml: [output] kind",
        ),
        (
            "open-axes",
            SCALE,
            "the graph leaves the order of its input's axes open; add to model.toml",
        ),
        ("detect", SCALE, "ONNX metadata task is \"detect\": \"classify\" is needed"),
        ("long-version", SCALE, "ONNX metadata version is 1000 bytes, 1 to 128 are possible"),
    ] {
        let text = Bundle::toml(model, toml).refusal();
        assert!(text.contains(expected), "{text:?} lacks {expected:?}");
    }
    let bundle = Bundle::toml("qdq", "");
    std::fs::remove_file(bundle.path("model.onnx")).unwrap();
    assert!(bundle.refusal().contains("it is a directory without model.onnx"));
}

#[test]
fn files_of_a_bundle_are_regular_small_inside_it_and_unchanged() {
    let bundle = Bundle::toml("qdq", "[output]\nlabels_file = 'pipe'");
    nix::unistd::mkfifo(&bundle.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(bundle.refusal().contains("pipe is no regular file"), "{}", bundle.refusal());

    let bundle = Bundle::toml("qdq", "[output]\nlabels_file = 'device'");
    std::os::unix::fs::symlink("/dev/zero", bundle.path("device")).unwrap();
    assert!(
        bundle.refusal().contains("\"device\" leads out of the bundle"),
        "{}",
        bundle.refusal()
    );

    let bundle = Bundle::toml("qdq", "");
    std::os::unix::fs::symlink("/dev/zero", bundle.path("labels.txt")).unwrap();
    assert!(bundle.refusal().contains("labels.txt is no regular file"), "{}", bundle.refusal());

    let bundle = Bundle::new("qdq", &[("labels.txt", &"x".repeat((4 << 20) + 1))]);
    assert!(bundle.refusal().contains("labels.txt is over 4194304 bytes, the limit"));

    let digest = sha256(&std::fs::read(stored("qdq")).unwrap());
    let bundle = Bundle::toml("qdq", &format!("[files]\n'model.onnx' = '{digest}'"));
    assert_eq!(bundle.check().status.code(), Some(0), "{}", stderr(&bundle.check()));
    let other = "0".repeat(64);
    let bundle = Bundle::toml("qdq", &format!("[files]\n'model.onnx' = '{other}'"));
    let text = bundle.refusal();
    let differ =
        format!("\"model.onnx\" is {digest}, but model.toml [files] \"model.onnx\" is {other}");
    assert!(text.contains(&differ), "{text}");
}

#[test]
fn the_digest_covers_every_file_that_counts() {
    let alone = inspect(&stored("qdq"))["digest"].clone();
    assert_eq!(alone, json!(sha256(&std::fs::read(stored("qdq")).unwrap())));
    let ten = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
    let bundle = Bundle::new("qdq", &[("model.toml", ""), ("labels.txt", ten)]);
    let line = |name: &str| {
        let bytes = std::fs::read(bundle.path(name)).unwrap();
        format!("{name}\0{}\n", sha256(&bytes))
    };
    let list = [line("labels.txt"), line("model.onnx"), line("model.toml")].concat();
    assert_eq!(bundle.inspect()["digest"], json!(sha256(list.as_bytes())));
    bundle.write("labels.txt", ten.replace('j', "k"));
    assert_ne!(bundle.inspect()["digest"], json!(sha256(list.as_bytes())));
    // A file that nobody reads is none of the model's.
    let before = bundle.inspect()["digest"].clone();
    bundle.write("README.md", "welds");
    assert_eq!(bundle.inspect()["digest"], before);
}

/// A picture of 32x32 pixels, as raw bytes and as a file.
fn ramp() -> (Vec<u8>, Vec<u8>) {
    let raw: Vec<u8> = (0..3072).map(|at| (at * 7 % 251) as u8).collect();
    let file = [b"P6\n32 32\n255\n", raw.as_slice()].concat();
    (raw, file)
}

/// A model's scores for the ramp, as `picket model logits` prints them.
fn scores(bundle: &Bundle) -> Vec<f32> {
    let raw = bundle.path("ramp.rgb");
    std::fs::write(&raw, ramp().0).unwrap();
    let path = bundle.0.path().to_str().unwrap();
    let output = run(["model", "logits", raw.to_str().unwrap(), "--model-path", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(stdout(&output)).unwrap()
}

#[test]
fn golden_pictures_are_checked_and_named_when_their_scores_are_others() {
    let bundle = Bundle::toml("unscaled", SCALE);
    let mut logits = scores(&bundle);
    std::fs::create_dir(bundle.path("golden")).unwrap();
    bundle.write("golden/ramp.ppm", ramp().1);
    let golden = |logits: &[f32], more: &str| {
        let text =
            format!("{SCALE}[[golden]]\nimage = 'golden/ramp.ppm'\nlogits = {logits:?}\n{more}");
        bundle.write("model.toml", text);
    };
    golden(&logits, "tolerance = 0.001");
    let output = bundle.check();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains(": ok, golden logits match, pictures: 1\n"), "{text}");
    assert!(!text.contains("no golden pictures"), "{text}");

    logits[2] += 0.01;
    golden(&logits, "");
    assert_eq!(bundle.check().status.code(), Some(0), "within the tolerance of a quarter");
    golden(&logits, "tolerance = 0.001");
    let text = bundle.refusal();
    assert!(text.contains("failed its golden check of \"golden/ramp.ppm\": logit 2 is "), "{text}");
    golden(&logits[..9], "");
    let text = bundle.refusal();
    assert!(
        text.contains("9 golden logits of \"golden/ramp.ppm\", exactly 10 are needed"),
        "{text}"
    );
    bundle.write("golden/ramp.ppm", "no picture at all");
    golden(&logits, "");
    assert!(bundle.refusal().contains("the golden picture \"golden/ramp.ppm\": "));
}

#[test]
fn a_described_model_serves_once_what_is_marked_is_filled_in() {
    let describe = |path: &Path| {
        let output = run(["model", "describe", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).to_string()
    };
    let bundle = Bundle::new("open-axes", &[]);
    let mut text = describe(&bundle.path("model.onnx"));
    for (key, filled) in [
        ("size", "[64, 48]"),
        ("colour", "\"bgr\""),
        ("layout", "\"nchw\""),
        ("scale", "\"-1..1\""),
    ] {
        bundle.write("model.toml", &text);
        let open = format!("{key} = \"?\"");
        assert!(text.contains(&open), "{text}");
        assert!(bundle.refusal().contains("\"?\""), "{}", bundle.refusal());
        text = text.replace(&open, &format!("{key} = {filled}"));
    }
    bundle.write("model.toml", &text);
    let inspected = bundle.inspect();
    assert_eq!(inspected["input"], "F32 [1, 3, 64, 48]", "{text}");
    assert_eq!(describe(bundle.0.path()).matches("\"?\"").count(), 0);

    let golden = format!("{SCALE}[[golden]]\nimage = 'g.png'\nlogits = [0.5, -1.0]\n");
    let known = Bundle::new("two-classes", &[("model.toml", &golden), ("g.png", "")]);
    assert!(describe(known.0.path()).contains("image = \"g.png\"\nlogits = [0.5, -1.0]\n"));

    let conflict = Bundle::toml("f32", SCALE);
    let output = run(["model", "describe", conflict.0.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("they must agree"), "{}", stderr(&output));
}

#[test]
fn a_stamped_file_says_alone_what_its_bundle_said() {
    let toml = "[model]\nname = 'welds'\nversion = '1.4'\ncounter = 3\n[input]\nscale = '-1..1'\n\
                mean = [0.1, 0.2, 0.3]\nstd = [0.5]\n[resize]\nmode = 'shorter-side'\nto = 40\n\
                filter = 'bicubic'\n[output]\ntemperature = 1.5\nlabels_file = 'l.txt'\n[verdict]\n\
                defect_labels = ['b']\nuncertain_between = [0.1, 0.2]\nthresholds = { c = 0.25 }\n";
    let labels = "a\nb\nc\nd\ne\nf\ng\nh\ni\n\"j\", quoted\n";
    let bundle = Bundle::new("unscaled", &[("model.toml", toml), ("l.txt", labels)]);
    let stamp = |args: &[&str]| {
        let path = bundle.0.path().to_str().unwrap();
        run([&["model", "stamp", path], args].concat())
    };
    let output = stamp(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("model.stamped.onnx\n"), "{}", stdout(&output));
    let original = std::fs::read(stored("unscaled")).unwrap();
    assert_eq!(std::fs::read(bundle.path("model.onnx")).unwrap(), original, "not in place");
    assert_eq!(stamp(&[]).status.code(), Some(74), "nothing is written over unasked");

    let alone = tempfile::tempdir().unwrap();
    let bare = alone.path().join("bare.onnx");
    assert_eq!(stamp(&["-o", bare.to_str().unwrap()]).status.code(), Some(0));
    let (of_bundle, of_file) = (bundle.inspect(), inspect(&bare));
    let values = |inspected: &Value| {
        let card = inspected["card"].as_array().unwrap().iter();
        card.map(|line| (line["key"].clone(), line["value"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&of_file), values(&of_bundle));
    assert_eq!(value(&of_file, "scale").1, "ONNX metadata picket.card [input] scale");
    assert_eq!((&of_file["name"], &of_file["version"]), (&json!("welds"), &json!("1.4")));
    assert_eq!(of_file["labels"][9], "\"j\", quoted");
}

#[test]
fn a_bundle_s_verdicts_hold_where_the_configuration_says_nothing() {
    let labels = "labels = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']";
    let probe = Bundle::toml("unscaled", &format!("{SCALE}[output]\n{labels}"));
    let cat = fixture("cifar10/cat.png");
    let predict = |bundle: &Bundle, args: &[&str]| -> Value {
        let path = bundle.0.path().to_str().unwrap();
        let predict = ["predict", "--json", cat.to_str().unwrap(), "--model-path", path];
        let output = run([&predict, args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_str(stdout(&output)).unwrap()
    };
    let first = predict(&probe, &[]);
    assert_eq!(
        (&first["defect"], &first["model"]["name"]),
        (&json!(false), &json!("cifar10-model"))
    );
    let (won, second) = (first["top"][0]["label"].clone(), first["top"][1].clone());
    let next = second["confidence"].as_f64().unwrap();
    let toml = format!(
        "[model]\nname = 'welds'\n{SCALE}[output]\n{labels}\n[verdict]\nthresholds = {{ {} = {} }}\n\
         uncertain_between = [0.0, 1.0]",
        second["label"],
        next - 0.001
    );
    let bundle = Bundle::toml("unscaled", &toml);
    let answer = predict(&bundle, &[]);
    assert_eq!((&answer["label"], &answer["defect"]), (&won, &json!(true)), "{answer}");
    assert_eq!((&answer["uncertain"], &answer["model"]["name"]), (&json!(true), &json!("welds")));
    let answer = predict(&bundle, &["--verdict-uncertain-between", "0.99,1", "--model-name", "x"]);
    assert_eq!((&answer["uncertain"], &answer["model"]["name"]), (&json!(false), &json!("x")));
    let won = format!("[verdict]\ndefect_labels = [{won}]");
    let bundle = Bundle::toml("unscaled", &format!("{SCALE}[output]\n{labels}\n{won}"));
    assert_eq!(predict(&bundle, &[])["defect"], true);
    assert_eq!(
        predict(&bundle, &["--verdict-defect-labels", "a"])["defect"],
        json!(won.contains("\"a\""))
    );
}

#[test]
fn a_softmax_and_a_sigmoid_in_the_file_are_not_applied_again() {
    for (model, classes) in [("softmax", 10), ("sigmoid", 2)] {
        let bundle = Bundle::toml(model, SCALE);
        let scores = scores(&bundle);
        let ramp = bundle.path("ramp.rgb");
        let path = bundle.0.path().to_str().unwrap();
        let output = run(["predict", "--json", ramp.to_str().unwrap(), "--model-path", path]);
        let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
        let probabilities = answer["probabilities"].as_array().unwrap();
        assert_eq!(probabilities.len(), classes);
        let last = probabilities[classes - 1].as_f64().unwrap() as f32;
        assert_eq!(last, *scores.last().unwrap(), "{model}");
    }
}

#[test]
fn an_answer_has_the_most_probable_classes_and_all_of_them_on_request() {
    let classes: Vec<String> = (0..100).map(|class| format!("class {class}")).collect();
    let bundle = Bundle::toml("classes-100", SCALE);
    let (_state, daemon) = start_with(["--model-path", bundle.0.path().to_str().unwrap()]);
    let ask = |query: &str| {
        let path = format!("/predict{query}");
        daemon.post(&path, Some("image/png"), &cat_png())
    };
    let answer = ask("").json();
    assert!(answer.get("probabilities").is_none(), "{answer}");
    let top = answer["top"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    assert_eq!((&top[0]["label"], &top[0]["class"]), (&answer["label"], &answer["class"]));
    assert_eq!(top[0]["confidence"], answer["confidence"]);
    assert!(classes.contains(&top[4]["label"].as_str().unwrap().to_string()));
    let all = ask("?probabilities=all&top=32").json();
    assert_eq!(all["probabilities"].as_array().unwrap().len(), 100);
    assert_eq!(all["top"].as_array().unwrap().len(), 32);
    for (query, text) in [
        ("?top=33", "query: top is 33: 1 to 32 is needed"),
        ("?top=0", "query: top is 0: 1 to 32 is needed"),
        ("?probabilities=some", "query: probabilities is some: all is needed"),
    ] {
        let answer = ask(query);
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["error"], text);
    }

    let table = run([
        "predict",
        fixture("cifar10/cat.png").to_str().unwrap(),
        "--model-path",
        bundle.0.path().to_str().unwrap(),
    ]);
    let text = stdout(&table);
    let second = answer["top"][1]["label"].as_str().unwrap();
    assert!(text.lines().next().unwrap().contains("label") && text.contains(second), "{text}");
}
