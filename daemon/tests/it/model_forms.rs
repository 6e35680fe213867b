//! Models in the forms of other exporters, and files that ask for more than a box has. The scores
//! in the files are ONNX Runtime's (daemon/tests/data/models/forms.py).

use std::path::{Path, PathBuf};

use crate::support::{fixture, run, stderr, stdout};

fn check(file: &Path) -> (Option<i32>, String) {
    let output = run(["model", "check", file.to_str().unwrap()]);
    (output.status.code(), [stdout(&output), stderr(&output)].concat())
}

#[test]
fn forms_of_other_exporters_give_the_scores_of_onnx_runtime() {
    for name in ["operators", "softmax-i8", "external"] {
        let (code, text) = check(&fixture("models").join(format!("{name}.onnx")));
        assert_eq!(code, Some(0), "{name}: {text}");
        assert!(text.lines().next().unwrap().ends_with(": ok, golden logits match"), "{text}");
    }
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_in_one_line_and_costs_little() {
    for (name, reason) in [
        ("constant-of-shape", "MiB of memory to load, the limit here"),
        ("expand", "MiB of memory to load, the limit here"),
        ("tile", "is not a usable ONNX file: "),
        ("doubled", "its tensors take 68702706528 bytes for one picture, at most 1073741824"),
        ("pad", "bytes for one picture, at most 1073741824 are given"),
        ("resize", "bytes for one picture, at most 1073741824 are given"),
        ("chain", "it has 2505 nodes, at most 2000 are run"),
    ] {
        let (code, text) = check(&fixture("models/huge").join(format!("{name}.onnx")));
        assert_eq!(code, Some(65), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    }
}

#[test]
fn a_file_whose_answers_would_be_wrong_is_refused_in_one_line() {
    for (name, reason) in [
        ("celu", "its Celu \"\" is of a form that the engine gets wrong"),
        ("lp-pool", "its GlobalLpPool \"\" is of a form that the engine gets wrong"),
        ("aligned", "its Resize \"\" is of a form that the engine gets wrong"),
        ("softmax-by-hand", "add to model.toml: [output] kind = \"probabilities\""),
        ("arg-max", "its output is of type I64, scores are needed"),
        ("mixed", "is not a usable ONNX file: the engine can't run "),
    ] {
        let (code, text) = check(&fixture("models/doubtful").join(format!("{name}.onnx")));
        assert_eq!(code, Some(65), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    }
}

/// external.onnx with its data file, the name of which is replaced by one of the same length.
fn external(dir: &Path, name: &str) -> PathBuf {
    let stated = b"external.onnx.data";
    assert_eq!(name.len(), stated.len());
    let mut onnx = std::fs::read(fixture("models/external.onnx")).unwrap();
    let places = onnx.windows(stated.len()).enumerate().filter(|(_, bytes)| bytes == stated);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        onnx[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    let model = dir.join("model.onnx");
    std::fs::write(&model, onnx).unwrap();
    model
}

#[test]
fn constants_in_another_file_stay_beside_the_model_and_inside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = std::fs::read(fixture("models/external.onnx.data")).unwrap();
    std::fs::write(dir.path().join("external.onnx.data"), &data).unwrap();
    let refused = |name: &str, reason: &str| {
        let (code, text) = check(&external(dir.path(), name));
        assert_eq!(code, Some(65), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    };
    assert_eq!(check(&external(dir.path(), "external.onnx.data")).0, Some(0));
    for name in ["../ternal.onnx.data", "/etc/ssl/openssl.c", "a/ternal.onnx.data"] {
        let name = &name[..18];
        refused(name, "the name of a file in the same directory is needed");
    }
    refused("missing.onnx.data.", "No such file or directory");
    std::fs::create_dir(dir.path().join("directory.of.data.")).unwrap();
    refused("directory.of.data.", "which is no regular file");
    nix::unistd::mkfifo(&dir.path().join("named.pipe.of.data"), nix::sys::stat::Mode::S_IRWXU)
        .unwrap();
    refused("named.pipe.of.data", "which is no regular file");
    std::fs::write(dir.path().join("external.onnx.data"), &data[..data.len() - 1]).unwrap();
    refused("external.onnx.data", "bytes from ");
}

#[test]
fn a_model_of_another_format_is_named_with_what_converts_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, start, format, convert) in [
        ("m.tflite", &b"\x1c\0\0\0TFL3\x14\0 \0"[..], "a TensorFlow Lite model", "tf2onnx"),
        ("m.pt", b"PK\x03\x04\0\0\x08\x08", "a PyTorch or Keras archive", "torch.onnx.export"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "a Keras model in HDF5", "tf2onnx"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, start).unwrap();
        let (code, text) = check(&file);
        assert_eq!(code, Some(65), "{name}: {text}");
        assert!(text.contains(format) && text.contains(convert), "{name}: {text}");
    }
}
