//! The house rules that a machine can check: which room names which engine, what a file may be.

use std::path::{Path, PathBuf};

struct Source {
    /// Relative to daemon/src.
    path: String,
    /// Without comments and unit tests.
    code: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 30, "the sources are where this test looks for them");
    files.into_iter().map(|file| source(&root, &file)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let text = std::fs::read_to_string(file).unwrap();
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_string();
    let production = text.split("#[cfg(test)]").next().unwrap();
    let of_tests = path.ends_with("tests.rs") || path.ends_with("fixtures.rs");
    let production = if of_tests { "" } else { production };
    let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    Source { path, code, text }
}

/// Where the model's room reaches into qconv.
const TRACT_NODES: [&str; 3] = ["qconv/op.rs", "qconv/pattern.rs", "qconv/sum.rs"];

/// Where unsafe code may be: system calls, and one file for each instruction set.
const UNSAFE: [&str; 7] = [
    "os.rs",
    "qconv/kernel/avx2.rs",
    "qconv/kernel/avx512_vnni.rs",
    "qconv/kernel/avx_vnni.rs",
    "qconv/kernel/dotprod.rs",
    "qconv/kernel/i8mm.rs",
    "qconv/kernel/neon.rs",
];

fn names(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + krate.len()..];
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            && after.starts_with("::")
    })
}

#[test]
fn each_engine_is_named_in_its_own_room_only() {
    for (krate, room) in [
        ("tract_onnx", "model"),
        ("sled", "prediction_log"),
        ("nix", "os"),
        ("sd_notify", "systemd"),
        ("systemd", "log_output"),
        ("tracing_subscriber", "log_output"),
        ("warp", "http"),
        ("hyper", "http"),
        ("tokio_rustls", "http"),
        ("prometheus", "metrics"),
        ("image", "image"),
    ] {
        let rooms: Vec<String> = sources()
            .into_iter()
            // A convolution of ours is a node in tract's graph; its arithmetic knows no graph.
            .filter(|source| krate != "tract_onnx" || !TRACT_NODES.contains(&&*source.path))
            // The daemon's routes pass through the supervisor as a type.
            .filter(|source| !(krate == "warp" && source.path == "supervisor.rs"))
            // The command line is a client of its own daemon.
            .filter(|source| !(krate == "hyper" && source.path == "cli/source.rs"))
            .filter(|source| krate != "image" || source.code.contains("use image::"))
            .filter(|source| names(&source.code, krate))
            .map(|source| source.path)
            .collect();
        assert!(!rooms.is_empty(), "{krate} is used somewhere");
        for path in rooms {
            let top = path.split(['/', '.']).next().unwrap();
            assert_eq!(top, room, "{path} names {krate}");
        }
    }
}

#[test]
fn the_line_from_image_to_prediction_knows_no_server() {
    let line = ["image/", "tensor.rs", "model.rs", "qconv/", "prediction.rs", "pipeline.rs"];
    for source in sources() {
        if line.iter().any(|room| source.path.starts_with(room)) {
            for krate in ["tokio", "warp", "hyper", "prometheus", "sd_notify", "sled", "tracing"] {
                assert!(!names(&source.code, krate), "{} names {krate}", source.path);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_nothing_is_left_unfinished() {
    for Source { path, code, text } in sources() {
        assert!(text.starts_with("//!"), "{path} does not open with its purpose");
        assert!(!code.contains(".unwrap()"), "{path} unwraps outside tests");
        for mark in ["TODO", "FIXME", "todo!(", "unimplemented!("] {
            assert!(!code.contains(mark), "{path} holds {mark}");
        }
    }
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why_it_is_sound() {
    for Source { path, code, text } in sources() {
        if !UNSAFE.contains(&&*path) {
            assert!(!code.contains("unsafe "), "{path} holds unsafe code");
            continue;
        }
        let (blocks, reasons) = (text.matches("unsafe {").count(), text.matches("SAFETY:").count());
        assert!(
            0 < blocks && blocks <= reasons,
            "{path}: {blocks} unsafe blocks, {reasons} reasons"
        );
        let (functions, demands) =
            (text.matches("unsafe fn ").count(), text.matches("# Safety").count());
        assert_eq!(functions, demands, "{path}: unsafe functions, and what they demand");
    }
}

#[test]
fn every_setting_is_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let help = crate::support::run(["serve", "--help"]);
    let help = crate::support::stdout(&help);
    let variables: Vec<&str> = help
        .split("[env: ")
        .skip(1)
        .map(|rest| rest.split(['=', ']']).next().unwrap())
        .filter(|variable| variable.starts_with("PICKET_"))
        .collect();
    assert!(variables.len() > 20, "{variables:?}");
    for variable in variables {
        assert!(docs.contains(&format!("`{variable}`")), "docs/configuration.md lacks {variable}");
    }
}
