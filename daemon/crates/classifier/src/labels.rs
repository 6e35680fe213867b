//! The labels that a file states, one for each class.

/// Longest label, bytes: every record of the log holds one.
const LABEL_BYTES_MAX: usize = 128;

/// Takes the labels of a model of `scores` outputs from its file's metadata; "class 0", "class 1", …
/// where it states none.
///
/// # Errors
/// What is wrong with them, as a sentence without its subject's name.
pub fn labels(stated: Option<&str>, scores: usize) -> Result<Vec<String>, String> {
    let Some(stated) = stated else {
        return Ok((0..scores).map(|class| format!("class {class}")).collect());
    };
    let labels: Vec<String> = stated.split(',').map(|label| label.trim().to_string()).collect();
    if let Some(label) = labels.iter().find(|label| !(1..=LABEL_BYTES_MAX).contains(&label.len())) {
        let bytes = label.len();
        return Err(format!(
            "it has a label of {bytes} bytes, 1 to {LABEL_BYTES_MAX} are possible"
        ));
    }
    let count = labels.len();
    if count != scores && (scores, count) != (1, 2) {
        return Err(format!("it states {count} labels, exactly {scores} are needed"));
    }
    Ok(labels)
}
