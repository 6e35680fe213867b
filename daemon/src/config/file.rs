//! The configuration file: TOML in which every key must be known, by its present or a former name.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, FILE_BYTES_MAX};
use super::setting::Former;
use super::settings::{SETTINGS, Settings};

/// What some editors put in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What a file sets, and the former names that it uses.
///
/// # Errors
/// A file that can't be read, is too large or empty, an unknown key or a wrong type with its line, two
/// names of one setting.
pub fn read(path: &Path) -> Result<(Settings, Vec<Former>), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), bytes });
    }
    // No more than that, should it grow meanwhile or be no ordinary file.
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    // What a power cut leaves of a file: its name, and no content or zeros.
    if text
        .trim_matches(|c: char| c.is_whitespace() || c == '\0' || c == BYTE_ORDER_MARK)
        .is_empty()
    {
        return Err(ConfigError::Empty { path: path.to_path_buf() });
    }
    let wrong = |error| syntax(path, &text, &error);
    let mut root = DeTable::parse(&text).map_err(wrong)?;
    let former = rename(root.get_mut())
        .map_err(|names| ConfigError::TwoNames { path: path.to_path_buf(), names })?;
    let settings = Settings::deserialize(toml::Deserializer::from(root)).map_err(wrong)?;
    Ok((settings, former))
}

/// Gives what has a former name its present one; the error holds two names that are both there.
fn rename(root: &mut DeTable<'_>) -> Result<Vec<Former>, Former> {
    let mut found = Vec::new();
    for (now, was) in SETTINGS.iter().flat_map(|now| now.former().map(move |was| (now, was))) {
        let Some(DeValue::Table(table)) = root.get_mut(was.section).map(|value| value.get_mut())
        else {
            continue;
        };
        let Some((mut key, value)) = table.remove_entry(was.key) else { continue };
        let former = Former { was: was.name(), now: now.name() };
        if table.contains_key(now.key) {
            return Err(former);
        }
        *key.get_mut() = now.key.into();
        table.insert(key, value);
        found.push(former);
    }
    Ok(found)
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
    let source: String =
        text.lines().nth(line).unwrap_or_default().trim().chars().take(80).collect();
    let message = error.message().replace('\n', " ");
    let detail = format!("line {} ({source}): {message}", line + 1);
    ConfigError::Syntax { path: path.to_path_buf(), detail }
}
