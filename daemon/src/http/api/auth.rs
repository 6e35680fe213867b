//! The bearer token that the API asks for, where one is configured.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use crate::http::listener::warn_if_exposed;

/// Fewer can be guessed: 24 characters are 96 bits even of hexadecimal digits.
const TOKEN_BYTES_MIN: usize = 24;

/// A token has to fit in a request's head.
const TOKEN_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read token {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "token {} has {bytes} characters, {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} are possible",
        path.display()
    )]
    Length { path: PathBuf, bytes: usize },
    #[error("token {} holds characters other than visible ASCII", path.display())]
    Characters { path: PathBuf },
}

/// A token is kept as its SHA-256: comparing digests tells nothing of how much of a guess was right.
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Reads a token, which is the file's one line.
    ///
    /// # Errors
    /// An unreadable file, a token that is too short or can't be sent in a header.
    pub fn load(path: &Path) -> Result<Token, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.into(), source };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let limit = TOKEN_BYTES_MAX as u64 + 2;
        if metadata.len() > limit {
            let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
            return Err(TokenError::Length { path: path.into(), bytes });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let token = text.trim_end_matches(['\r', '\n']);
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(TokenError::Length { path: path.into(), bytes: token.len() });
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters { path: path.into() });
        }
        warn_if_exposed(path, metadata.permissions().mode(), "token");
        Ok(Token { digest: Sha256::digest(token).into() })
    }

    /// Compares the token with what a request shows.
    ///
    /// # Errors
    /// What is wrong with the request's Authorization header.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let value = headers
            .get(AUTHORIZATION)
            .ok_or("no Authorization header, a bearer token is needed")?;
        let (scheme, token) = match value.as_bytes().iter().position(|byte| *byte == b' ') {
            Some(space) => value.as_bytes().split_at(space),
            None => (value.as_bytes(), &b""[..]),
        };
        if !scheme.eq_ignore_ascii_case(b"Bearer") {
            return Err("the Authorization header holds no bearer token");
        }
        let given: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        if given != self.digest {
            return Err("the bearer token is not the one that is configured");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    const SECRET: &str = "correct-horse-battery-staple";

    fn load(text: &str) -> Result<Token, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Token::load(file.path())
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = load(&format!("{SECRET}\n")).unwrap();
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            token.check(&headers)
        };
        check(&format!("Bearer {SECRET}")).unwrap();
        check(&format!("bearer  {SECRET} ")).unwrap();
        for wrong in ["", "Bearer", "Bearer ", &format!("Basic {SECRET}"), SECRET] {
            check(wrong).unwrap_err();
        }
        check(&format!("Bearer {SECRET}x")).unwrap_err();
        check(&format!("Bearer {}", &SECRET[1..])).unwrap_err();
        token.check(&HeaderMap::new()).unwrap_err();
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        for (text, fault) in [
            ("", "has 0 characters, 24 to 4096"),
            ("short", "has 5 characters, 24 to 4096"),
            ("two words are not one token", "visible ASCII"),
            ("tökens-are-ascii-and-nothing-else", "visible ASCII"),
        ] {
            let error = load(text).err().unwrap().to_string();
            assert!(error.contains(fault), "{error}");
        }
        assert!(load(&"x".repeat(5000)).is_err());
    }
}
