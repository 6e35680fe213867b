//! Whose signature counts: minisign over `model.toml`, which holds the sums of all other files and the
//! counter. It needs no clock and no network.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

/// The signature of a version, beside its model.toml.
pub const SIGNATURE: &str = "model.toml.minisig";

/// Most keys that are trusted at once: one, and its successor, for each who signs.
const KEYS_MAX: usize = 32;

/// The longest file of keys, and the longest signature, bytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("keys {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("keys {}: line {line} is no minisign public key", path.display())]
    NoKey { path: PathBuf, line: usize },
    #[error("keys {} hold no minisign public key", path.display())]
    Empty { path: PathBuf },
    #[error("keys {} hold more than {KEYS_MAX} keys, the limit", path.display())]
    TooMany { path: PathBuf },
    #[error("{SIGNATURE} is missing: only signed models are taken here")]
    Missing,
    #[error("{SIGNATURE} is no minisign signature")]
    Malformed,
    #[error(
        "{SIGNATURE} is of none of the {keys} trusted keys, or model.toml was changed after it"
    )]
    Untrusted { keys: usize },
}

/// The public keys whose signatures count.
#[derive(Clone)]
pub struct TrustedKeys(Vec<PublicKey>);

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl TrustedKeys {
    /// Reads minisign public keys: a line each as minisign.pub has it; comments are passed over.
    ///
    /// # Errors
    /// A file that can't be read, a line that is no key, none or too many keys.
    pub fn read(path: &Path) -> Result<TrustedKeys, SignatureError> {
        let io = |source| SignatureError::Io { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        TrustedKeys::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<TrustedKeys, SignatureError> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("untrusted comment:") {
                continue;
            }
            let key = PublicKey::from_base64(line)
                .map_err(|_| SignatureError::NoKey { path: path.to_path_buf(), line: at + 1 })?;
            keys.push(key);
        }
        match keys.len() {
            0 => Err(SignatureError::Empty { path: path.to_path_buf() }),
            1..=KEYS_MAX => Ok(TrustedKeys(keys)),
            _ => Err(SignatureError::TooMany { path: path.to_path_buf() }),
        }
    }

    /// Checks the signature of a `model.toml`.
    ///
    /// # Errors
    /// No signature, none of minisign's prehashed form, or of nobody who is trusted.
    pub fn check(&self, model_toml: &[u8], signature: Option<&str>) -> Result<(), SignatureError> {
        let signature = signature.ok_or(SignatureError::Missing)?;
        let signature = Signature::decode(signature).map_err(|_| SignatureError::Malformed)?;
        let is_of = |key: &PublicKey| key.verify(model_toml, &signature, false).is_ok();
        if self.0.iter().any(is_of) {
            return Ok(());
        }
        Err(SignatureError::Untrusted { keys: self.0.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by minisign 0.11 with two keys: `minisign -S -s a.key -m model.toml`, and -l for the old form.
    const MODEL_TOML: &[u8] = b"[model]\nname = \"m\"\ncounter = 7\n";
    const A: &str = "untrusted comment: minisign public key 9BBF905AC4CB51E2\n\
                     RWTiUcvEWpC/m8nWz+7kj77JflV1HtVbqohhw+1kG05Nzlo0wuOD8UCG\n";
    const B: &str = "RWSG00z74JAqeIPECVOBRZ/2U0pPNy6hM2tawEhOfoGUiXyhxO51TL0x\n";
    const OF_A: &str = "untrusted comment: signature from minisign secret key\n\
        RUTiUcvEWpC/m78oqYolIJOOw1qCSysOqqWVjWN1zrJjHk+rVZgLVWVLL3wD7nU0Ezk/GKhZf97L0oKg5n0+qxrheXdFfOB6EQs=\n\
        trusted comment: picket-model counter=7\n\
        ZUf34vKEUkfxccnxzbLK9phgYjCcAE0/KYf0L7goM9dgFs/Qaiip8lFw9MFEWV7Xg4AsGFTo1i5ROmBRkd5lDQ==\n";
    const OF_A_NOT_HASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RWTiUcvEWpC/mw1ZQbVorqxMSbhIcFTic/n8SZ8jpFh9/IfdG9G2LwX65j8Big7Q1SH5YgCfx9bHa5Hvp9kHkeETORzpkiLX3g0=\n\
        trusted comment: x\n\
        grav+HrTO9nUgL1hkP3A/Rom/IQbiia8CuuwTA0ueG3clSm47JJhuHfOG4iuYetD68/K2rpviQzp9XPJqACnCA==\n";

    fn keys(text: &str) -> Result<TrustedKeys, SignatureError> {
        TrustedKeys::parse(text, Path::new("/etc/keys"))
    }

    #[test]
    fn only_what_a_trusted_key_has_signed_counts() {
        let (a, b) = (keys(A).unwrap(), keys(B).unwrap());
        let both = keys(&format!("# the old one\n{A}\n{B}")).unwrap();
        for trusted in [&a, &both] {
            trusted.check(MODEL_TOML, Some(OF_A)).unwrap();
        }
        let wrong = |keys: &TrustedKeys, toml: &[u8], signature| {
            keys.check(toml, signature).unwrap_err().to_string()
        };
        assert!(wrong(&b, MODEL_TOML, Some(OF_A)).contains("none of the 1 trusted keys"));
        let higher = b"[model]\nname = \"m\"\ncounter = 9\n";
        assert!(wrong(&a, higher, Some(OF_A)).contains("was changed after it"));
        let comment = OF_A.replace("counter=7", "counter=9");
        assert!(wrong(&a, MODEL_TOML, Some(&comment)).contains("none of"));
        assert!(wrong(&a, MODEL_TOML, Some(OF_A_NOT_HASHED)).contains("none of"));
        assert!(wrong(&a, MODEL_TOML, Some("RUTi")).contains("no minisign signature"));
        assert!(wrong(&a, MODEL_TOML, None).contains("only signed models"));
    }

    #[test]
    fn a_file_of_keys_is_whole_or_refused() {
        assert!(keys("").unwrap_err().to_string().contains("no minisign public key"));
        let error = keys(&format!("{A}oops\n")).unwrap_err().to_string();
        assert_eq!(error, "keys /etc/keys: line 3 is no minisign public key");
        assert!(keys(&B.repeat(33)).unwrap_err().to_string().contains("more than 32"));
    }
}
