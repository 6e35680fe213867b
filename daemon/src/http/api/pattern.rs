//! Paths of routes: `/v2/models/{name}/versions/{version}/infer`, where `{name}` takes any one
//! segment.

use percent_encoding::percent_decode_str;

/// What a path has for the named segments of its pattern.
pub type Segments = Vec<(&'static str, String)>;

/// Compares a path with a pattern, and gives the named segments percent-decoded; None where they
/// differ. One slash at the end counts for nothing. A name is never empty, and it may hold a slash once
/// it is decoded: it is no path.
pub(super) fn segments(pattern: &'static str, path: &str) -> Option<Segments> {
    let path = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()).unwrap_or(path);
    let mut rest = path.split('/');
    let mut named = Vec::new();
    for wanted in pattern.split('/') {
        let found = rest.next()?;
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(_) if found.is_empty() => return None,
            Some(name) => {
                let decoded = percent_decode_str(found).decode_utf8().ok()?;
                named.push((name, decoded.into_owned()));
            }
            None if wanted == found => {}
            None => return None,
        }
    }
    rest.next().is_none().then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFER: &str = "/v2/models/{name}/versions/{version}/infer";

    #[test]
    fn named_segments_take_one_segment_each_and_are_decoded() {
        let found = segments(INFER, "/v2/models/caf%C3%A9%2Fbar/versions/7/infer").unwrap();
        assert_eq!(found, [("name", "café/bar".to_string()), ("version", "7".to_string())]);
        assert_eq!(segments("/health", "/health"), Some(vec![]));
        assert_eq!(segments("/health", "/health/"), Some(vec![]));
        assert_eq!(segments("/", "/"), Some(vec![]));
    }

    #[test]
    fn anything_else_is_another_path() {
        for path in [
            "/v2/models/a/b/versions/7/infer",
            "/v2/models//versions/7/infer",
            "/v2/models/a/versions/7/infer/more",
            "/v2/models/a/versions/7",
            "/v2/models/a%ff/versions/7/infer",
            "/v2/m%6fdels/a/versions/7/infer",
        ] {
            assert_eq!(segments(INFER, path), None, "{path}");
        }
        for path in ["/", "", "*", "/health//", "//health", "/healthy", "/Health", "/health/x"] {
            assert_eq!(segments("/health", path), None, "{path}");
        }
    }
}
