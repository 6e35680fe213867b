//! The labels that a file states, one for each class.

use crate::embedded;
use crate::logits::CLASSES;

/// Longest label, bytes: every record of the log holds one.
const LABEL_BYTES_MAX: usize = 128;

/// Takes the labels from a file's metadata; CIFAR-10's where it states none.
///
/// # Errors
/// What is wrong with them, as a sentence without its subject's name.
pub fn labels(stated: Option<&str>) -> Result<[String; CLASSES], String> {
    let Some(stated) = stated else {
        return Ok(embedded::LABELS.map(str::to_string));
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
