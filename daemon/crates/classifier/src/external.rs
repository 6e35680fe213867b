//! Constants that a file keeps in another beside it, as PyTorch and MLflow write them: read under the
//! same limits and put where an engine looks for them. It computes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

use crate::error::MODEL_BYTES_MAX;

/// The longest file name that is looked for, bytes: as long as file systems allow.
const NAME_BYTES_MAX: usize = 255;

/// Returns the names of the files that the model's constants are in, each once.
pub fn names(model: &ModelProto) -> Vec<String> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let mut names: Vec<String> =
        tensors(graph).filter_map(|tensor| value(tensor, "location")).map(str::to_string).collect();
    names.sort();
    names.dedup();
    names
}

/// Reads every such constant from `dir` into the model.
///
/// # Errors
/// What is wrong with a name, a range or a file, as a sentence without its subject's name.
pub fn take(model: &mut ModelProto, dir: Option<&Path>) -> Result<(), String> {
    let mut left = MODEL_BYTES_MAX;
    let mut files = BTreeMap::new();
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let attributes = graph.node.iter_mut().flat_map(|node| node.attribute.iter_mut());
    let computed = attributes.filter_map(|attribute| attribute.t.as_mut());
    for tensor in graph.initializer.iter_mut().chain(computed) {
        if tensor.data_location != Some(DataLocation::External as i32) {
            continue;
        }
        let location = value(tensor, "location").unwrap_or_default().to_string();
        let Some(dir) = dir else {
            return Err(format!("its constants are in {location:?}, and it has no directory"));
        };
        if !files.contains_key(&location) {
            files.insert(location.clone(), open(dir, &location)?);
        }
        let (file, bytes) = files.get_mut(&location).expect("it was opened just now");
        let range = range(tensor, *bytes)?;
        left = left.checked_sub(range.1).ok_or_else(|| {
            format!("its constants in other files are over {MODEL_BYTES_MAX} bytes, the limit")
        })?;
        tensor.raw_data = read(file, range).map_err(|error| format!("{location:?}: {error}"))?;
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(())
}

fn tensors(graph: &GraphProto) -> impl Iterator<Item = &TensorProto> {
    let attributes = graph.node.iter().flat_map(|node| node.attribute.iter());
    let computed = attributes.filter_map(|attribute| attribute.t.as_ref());
    let all = graph.initializer.iter().chain(computed);
    all.filter(|tensor| tensor.data_location == Some(DataLocation::External as i32))
}

fn value<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    let entry = tensor.external_data.iter().find(|entry| entry.key == key)?;
    Some(&entry.value)
}

fn open(dir: &Path, name: &str) -> Result<(File, u64), String> {
    let plain =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\\', '\0']);
    if !plain || matches!(name, "." | "..") {
        return Err(format!(
            "its constants are in {name:?}, the name of a file in the same directory is needed"
        ));
    }
    let path = dir.join(name);
    // Before it is opened: opening a pipe would wait for a writer.
    let metadata =
        path.metadata().map_err(|error| format!("its constants are in {name:?}: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("its constants are in {name:?}, which is no regular file"));
    }
    let file =
        File::open(&path).map_err(|error| format!("its constants are in {name:?}: {error}"))?;
    Ok((file, metadata.len()))
}

/// Returns offset and length of a constant's bytes, within a file of `bytes`.
fn range(tensor: &TensorProto, bytes: u64) -> Result<(u64, u64), String> {
    let name = &tensor.name;
    let number = |key: &str| match value(tensor, key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(format!("the {key} of its constant {name:?} is no whole number")),
    };
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or_else(|| bytes.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > bytes) {
        return Err(format!(
            "its constant {name:?} is {length} bytes from {offset} on, the file has {bytes}"
        ));
    }
    if let Some(needed) = needed(tensor).filter(|needed| *needed != Some(length)) {
        let needed = needed.map_or_else(|| "more than 2^64".to_string(), |bytes| bytes.to_string());
        return Err(format!(
            "its constant {name:?} is stored in {length} bytes, its shape needs {needed}"
        ));
    }
    Ok((offset, length))
}

/// Returns the bytes that a constant's shape and type need; none for a type of another kind.
fn needed(tensor: &TensorProto) -> Option<Option<u64>> {
    let size = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Uint32 | DataType::Int32 | DataType::Float => 4,
        DataType::Uint64 | DataType::Int64 | DataType::Double => 8,
        _ => return None,
    };
    let axis = |axis: &i64| u64::try_from(*axis).ok();
    Some(tensor.dims.iter().try_fold(size, |bytes: u64, dim| bytes.checked_mul(axis(dim)?)))
}

fn read(file: &mut File, (offset, length): (u64, u64)) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
