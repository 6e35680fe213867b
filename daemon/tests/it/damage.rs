//! Damage to a model in the memory of a running daemon, as failing RAM does it, and what comes of
//! it: the daemon must notice by itself.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use crate::support::{Daemon, cat_png, embedded_model, start_with};

/// Pieces of this size are looked for: what the allocator aligns, and enough to be no coincidence.
const PIECE: usize = 32;
const ALIGNMENT: usize = 16;

/// Flips one bit of every fourth byte in whatever lies in the daemon's writable memory just as it
/// does in the model's file: weights and biases. Gives the number of pieces.
fn flip_bits_of_the_model(daemon: &Daemon) -> usize {
    let onnx = embedded_model();
    let mut pieces: HashSet<&[u8]> = HashSet::new();
    for piece in onnx.windows(PIECE).filter(|piece| is_numbers(piece)) {
        pieces.insert(piece);
    }
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{}/mem", daemon.pid()))
        .unwrap();
    let mut flipped = 0;
    for (start, length) in writable_memory(daemon.pid()) {
        let mut bytes = vec![0; length];
        if file.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for at in (0..length.saturating_sub(PIECE)).step_by(ALIGNMENT) {
            let piece = &bytes[at..at + PIECE];
            if pieces.contains(piece) {
                let damaged: Vec<u8> = (0..PIECE)
                    .map(|i| piece[i] ^ if i % 4 == 2 { 0x40 } else { 0 })
                    .take(ALIGNMENT)
                    .collect();
                file.write_all_at(&damaged, start + at as u64).unwrap();
                flipped += 1;
            }
        }
    }
    flipped
}

/// Text, and what is all alike, lies elsewhere as well.
fn is_numbers(piece: &[u8]) -> bool {
    let high = piece.iter().filter(|byte| **byte >= 0x80).count();
    let varied = piece.iter().collect::<HashSet<_>>().len();
    high >= PIECE / 4 && varied >= PIECE / 4
}

fn writable_memory(pid: u32) -> Vec<(u64, usize)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let writable = maps.lines().filter(|line| line.contains(" rw-p "));
    writable
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let (start, end) = (number(start), number(rest.split_once(' ').unwrap().0));
            (start, usize::try_from(end - start).unwrap())
        })
        .collect()
}

#[test]
fn a_model_damaged_in_memory_fails_liveness_and_gives_no_wrong_answers() {
    let (_state, mut daemon) = start_with(["--api-workers", "1", "--health-sample-interval", "1s"]);
    assert_eq!(daemon.predict("image/png", &cat_png()).json()["label"], "cat");
    let flipped = flip_bits_of_the_model(&daemon);
    assert!(flipped > 0, "nothing of the model was found in memory");
    daemon.wait_until("the fault", |daemon| daemon.probe("/health").status == 500);
    let error = daemon.probe("/health").error();
    assert!(error.starts_with("worker-0: the golden sample's logits differ by "), "{error}");
    assert!(error.ends_with(" from those at load: memory or model is damaged"), "{error}");
    let line = daemon.wait_for_line("not alive");
    assert!(line.contains(&error), "{line}");
    assert_eq!(daemon.probe("/ready").json()["reason"], "model_not_loaded");
    let answer = daemon.predict("image/png", &cat_png());
    assert_eq!(answer.status, 500);
    assert!(answer.error().contains("answers can't be trusted"), "{}", answer.body);
}
