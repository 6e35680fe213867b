//! The one file in a `multipart/form-data` body, found where it lies: nothing of the body is copied. It must
//! not know what a file is.

use bytes::Bytes;
use memchr::memmem::Finder;

/// The most parts of a form that are looked at: a file and some fields.
const PARTS_MAX: usize = 32;

/// The longest head of a part, bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// The longest boundary, bytes; RFC 2046.
const BOUNDARY_BYTES_MAX: usize = 70;

/// What is wrong with a form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("its Content-Type names no boundary of 1 to {BOUNDARY_BYTES_MAX} bytes")]
    Boundary,
    #[error("it ends before its last boundary")]
    Cut,
    #[error("the head of a part has no end within {HEAD_BYTES_MAX} bytes")]
    Head,
    #[error("it has more than {PARTS_MAX} parts, the limit")]
    Parts,
    #[error("it has {0} files, exactly one is needed")]
    Files(usize),
}

/// Returns the boundary that a Content-Type names.
///
/// # Errors
/// When it names none.
pub(super) fn boundary(content_type: &str) -> Result<String, FormError> {
    parameter(content_type, "boundary")
        .filter(|boundary| (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()))
        .ok_or(FormError::Boundary)
}

/// Finds the one file of a form: its content, and the type that its part states. Fields without a file name
/// are ignored.
///
/// # Errors
/// When it is no whole form, or has no file or several.
pub(super) fn file(form: &Bytes, boundary: &str) -> Result<(Bytes, Option<String>), FormError> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiters = Delimiters { form, finder: Finder::new(&delimiter), length: delimiter.len() };
    let (mut at, mut files) = (delimiters.first()?, Vec::new());
    for _ in 0..PARTS_MAX {
        let Behind::Part(start) = at else {
            let count = files.len();
            return files.pop().filter(|_| count == 1).ok_or(FormError::Files(count));
        };
        let (head, content) = head(&form[start..])?;
        // The line end of a head without lines may be a part of the next delimiter.
        let (end, behind) = delimiters.next(start + content.saturating_sub(2))?;
        if head.is_file {
            files.push((form.slice((start + content).min(end)..end), head.media));
        }
        at = behind;
    }
    match at {
        Behind::End if files.len() == 1 => Ok(files.remove(0)),
        Behind::End => Err(FormError::Files(files.len())),
        Behind::Part(_) => Err(FormError::Parts),
    }
}

/// What comes behind a delimiter.
enum Behind {
    /// A part, which starts there.
    Part(usize),
    End,
}

struct Delimiters<'a> {
    form: &'a [u8],
    finder: Finder<'a>,
    length: usize,
}

impl Delimiters<'_> {
    /// The first one needs no line before it.
    fn first(&self) -> Result<Behind, FormError> {
        let without_line = self.length - 2;
        let is_first = self.form.starts_with(&self.finder.needle()[2..]);
        match self.behind(without_line).filter(|_| is_first) {
            Some(behind) => Ok(behind),
            None => self.next(0).map(|(_, behind)| behind),
        }
    }

    /// Gives where the next one begins, and what is behind it. A longer line that begins alike is none.
    fn next(&self, from: usize) -> Result<(usize, Behind), FormError> {
        let found = self.finder.find_iter(&self.form[from..]);
        let each = found.filter_map(|at| Some((from + at, self.behind(from + at + self.length)?)));
        each.into_iter().next().ok_or(FormError::Cut)
    }

    fn behind(&self, at: usize) -> Option<Behind> {
        let rest = self.form.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(Behind::End);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        rest[padding..].starts_with(b"\r\n").then_some(Behind::Part(at + padding + 2))
    }
}

struct Head {
    is_file: bool,
    media: Option<String>,
}

/// Reads the head of a part. Returns it, and where the content begins.
fn head(part: &[u8]) -> Result<(Head, usize), FormError> {
    let within = &part[..part.len().min(HEAD_BYTES_MAX)];
    let (lines, content) = if within.starts_with(b"\r\n") {
        (&[][..], 2)
    } else {
        let end = memchr::memmem::find(within, b"\r\n\r\n").ok_or(FormError::Head)?;
        (&within[..end], end + 4)
    };
    let mut head = Head { is_file: false, media: None };
    for line in String::from_utf8_lossy(lines).split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            head.is_file =
                ["filename", "filename*"].iter().any(|key| parameter(value, key).is_some());
        } else if name.trim().eq_ignore_ascii_case("content-type") {
            head.media = Some(value.trim().to_string());
        }
    }
    Ok((head, content))
}

/// Returns a parameter of a header's value, its quotes resolved.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    loop {
        rest = &rest[outside_quotes(rest).find(|(_, c)| *c == ';')?.0 + 1..];
        let (key, behind) = rest.split_once('=')?;
        if !key.trim().eq_ignore_ascii_case(name) {
            continue;
        }
        let end =
            outside_quotes(behind).find(|(_, c)| *c == ';').map_or(behind.len(), |(at, _)| at);
        let stated = behind[..end].trim();
        let quoted = stated.strip_prefix('"').and_then(|stated| stated.strip_suffix('"'));
        return Some(match quoted {
            None => stated.to_string(),
            Some(quoted) => quoted.replace("\\\"", "\"").replace("\\\\", "\\"),
        });
    }
}

/// The characters of a value that are in no quoted text.
fn outside_quotes(value: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quoted, mut escaped) = (false, false);
    value.char_indices().filter(move |(_, c)| {
        let inside = quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(head: &str, content: &str) -> String {
        format!("--x\r\n{head}\r\n\r\n{content}\r\n")
    }

    fn found(form: &str) -> Result<(String, Option<String>), FormError> {
        let (file, media) = file(&Bytes::copy_from_slice(form.as_bytes()), "x")?;
        Ok((String::from_utf8(file.to_vec()).unwrap(), media))
    }

    const FIELD: &str = "Content-Disposition: form-data; name=\"a; filename=\\\"b\"";
    const FILE: &str =
        "content-disposition:form-data;name=f;FileName=\"p.png\"\r\nContent-Type: image/png ";

    #[test]
    fn the_file_is_found_among_fields_and_not_copied() {
        let content = "\r\n--xy\r\n--\r\n-x\r\n";
        let whole =
            [&part(FIELD, "1"), &part(FILE, content), &part(FIELD, ""), "--x--\r\n"].concat();
        let png = Some("image/png".to_string());
        assert_eq!(found(&whole), Ok((content.into(), png.clone())));
        assert_eq!(found(&format!("preamble\r\n{whole}")), Ok((content.into(), png)));
        let whole = Bytes::from(whole);
        let (file, _) = file(&whole, "x").unwrap();
        assert!(whole.as_ptr_range().contains(&file.as_ptr()));
    }

    #[test]
    fn what_is_no_form_with_one_file_is_refused() {
        let file = part(FILE, "1");
        let two = [&file, &file, "--x--"].concat();
        assert_eq!(found(&two), Err(FormError::Files(2)));
        assert_eq!(found(&[&part(FIELD, "1"), "--x--"].concat()), Err(FormError::Files(0)));
        assert_eq!(found("--x--"), Err(FormError::Files(0)));
        for cut in ["", "--", "--x", "--x\r\n\r\n", &file, &file[..file.len() - 2]] {
            assert_eq!(found(cut), Err(FormError::Cut), "{cut}");
        }
        assert_eq!(found("--x\r\n"), Err(FormError::Head));
        assert_eq!(found(&part(&"a".repeat(HEAD_BYTES_MAX), "")), Err(FormError::Head));
        let many = [&part(FIELD, "1").repeat(PARTS_MAX), &file, "--x--"].concat();
        assert_eq!(found(&many), Err(FormError::Parts));
        let full = [&part(FIELD, "1").repeat(PARTS_MAX - 1), &file, "--x--"].concat();
        assert_eq!(found(&full).unwrap().0, "1");
    }

    #[test]
    fn a_part_without_lines_or_content_ends_at_once() {
        assert_eq!(found("--x\r\n\r\n\r\n--x--"), Err(FormError::Files(0)));
        assert_eq!(found("--x\r\n\r\n--x--"), Err(FormError::Files(0)));
        assert_eq!(found(&[&part(FILE, ""), "--x--"].concat()).unwrap().0, "");
    }

    #[test]
    fn a_boundary_may_be_quoted_and_must_be_there() {
        let named = |text: &str| boundary(&format!("multipart/form-data{text}"));
        assert_eq!(named("; boundary=a-b").unwrap(), "a-b");
        assert_eq!(named(";charset=\"x;boundary=no\"; Boundary=\"a b\"; q=1").unwrap(), "a b");
        for none in ["", "; boundary", "; boundary=", "; boundary=\"\"", ";a=b"] {
            assert_eq!(named(none), Err(FormError::Boundary), "{none}");
        }
        assert!(named(&format!("; boundary={}", "b".repeat(71))).is_err());
    }
}
