//! What is asked of a registry, and as whom.

use crate::client::{Credentials, HttpsFiles, Uri, http_uri};

/// What is asked of a registry.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The server with the prefix of its paths.
    pub server: Uri,
    pub name: String,
    pub which: Which,
    pub credentials: Credentials,
    pub https: HttpsFiles,
}

/// Which version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Alias(String),
    Stage(String),
}

impl Wanted {
    /// None for a URI that names no server, such as `file:` or `sqlite:`. A user in it goes before the
    /// environment's.
    pub fn new(uri: &str, name: &str, which: Which, credentials: Credentials) -> Option<Wanted> {
        let uri = http_uri(uri)?;
        let authority = uri.authority()?.as_str();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let stated = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            Credentials::Basic { user: decoded(user), password: decoded(password) }
        });
        let server = Uri::builder()
            .scheme(uri.scheme()?.clone())
            .authority(place)
            .path_and_query(uri.path().trim_end_matches('/').to_string() + "/")
            .build()
            .ok()?;
        let credentials = stated.unwrap_or(credentials);
        let (name, https) = (name.to_string(), HttpsFiles::default());
        Some(Wanted { server, name, which, credentials, https })
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_address_is_taken_out_of_it() {
        let which = || Which::Alias("champion".into());
        let wanted = |uri| Wanted::new(uri, "m", which(), Credentials::None);
        let with = wanted("https://us%40er:p%3Aw@h.example:8443/mlflow/").unwrap();
        assert_eq!(with.server.to_string(), "https://h.example:8443/mlflow/");
        let expected = Credentials::Basic { user: "us@er".into(), password: "p:w".into() };
        assert_eq!(with.credentials, expected);
        assert_eq!(format!("{:?}", with.credentials), "Basic", "no message shows a password");
        assert_eq!(wanted("http://[::1]:5000").unwrap().server.to_string(), "http://[::1]:5000/");
        assert!(wanted("sqlite:///mlflow.db").is_none());
    }
}
