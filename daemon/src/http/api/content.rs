//! What a body to predict from is: its media type, its coding, and the file in a form.
//!
//! Headers and query are judged before the body is read. It must not decode pictures.

use std::sync::Arc;

use picket_picture::{DecodeError, DecodeFault, MediaType, RawForm};
use warp::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use warp::http::{HeaderMap, StatusCode};

use super::body::{Bodies, Body};
use super::form::{self, FormError};
use super::rejected::Rejected;
use super::request::Request;
use crate::offload::{Offload, Progress};

/// What headers and query say of a body.
pub(super) struct Content {
    form: Option<RawForm>,
    kind: Kind,
    gzip: bool,
}

enum Kind {
    /// The body itself, of this type; none means that its first bytes say it.
    Whole(Option<MediaType>),
    /// `multipart/form-data` with this boundary.
    Parts(String),
}

impl Content {
    /// Reads the headers; `form` is what the query says of raw pixels.
    ///
    /// # Errors
    /// 415 for a type or a coding that is not taken, 400 for one that does not fit the query.
    pub(super) fn stated(headers: &HeaderMap, form: Option<RawForm>) -> Result<Content, Rejected> {
        let gzip = is_gzip(headers)?;
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let value = types.next().map(|value| String::from_utf8_lossy(value.as_bytes()));
        if types.next().is_some() {
            let text = "Content-Type is there twice, once is needed";
            return Err(Rejected::new(StatusCode::BAD_REQUEST, text));
        }
        let value = value.as_deref();
        let kind = match value {
            Some(value) if is_multipart(value) => {
                Kind::Parts(form::boundary(value).map_err(|error| malformed(&error))?)
            }
            _ => Kind::Whole(media(value, form)?),
        };
        Ok(Content { form, kind, gzip })
    }

    /// Reads the body, and has it unpacked by `ingest` where it is in something. Returns it, and the type
    /// that was stated.
    ///
    /// # Errors
    /// Those of [`Bodies::read`] and [`Bodies::unzip`], 400 for a form without exactly one file, 503 when
    /// too much waits to be unpacked.
    pub(super) async fn read(
        self,
        bodies: &Arc<Bodies>,
        ingest: &Offload,
        request: &mut Request,
    ) -> Result<(Body, Option<MediaType>), Rejected> {
        let body = bodies.read(request).await?;
        match self {
            Content { gzip: false, kind: Kind::Whole(media), .. } => Ok((body, media)),
            packed => {
                let (bodies, needs) = (bodies.clone(), body.needs());
                let unpack = move |progress: &Progress, _| packed.unpack(&bodies, body, progress);
                ingest.run(needs, unpack).await?
            }
        }
    }

    fn unpack(
        self,
        bodies: &Bodies,
        mut body: Body,
        progress: &Progress,
    ) -> Result<(Body, Option<MediaType>), Rejected> {
        if self.gzip {
            body = bodies.unzip(body, progress)?;
        }
        match self.kind {
            Kind::Whole(media) => Ok((body, media)),
            Kind::Parts(boundary) => {
                let file = form::file(&body.bytes, &boundary);
                let (file, stated) = file.map_err(|error| malformed(&error))?;
                let media = media(stated.as_deref(), self.form)?;
                Ok((body.reduced_to(file), media))
            }
        }
    }
}

/// Refuses a body that is no picture.
pub(super) fn refusal(error: &DecodeError) -> Rejected {
    let status = match error.fault() {
        DecodeFault::Malformed => StatusCode::BAD_REQUEST,
        DecodeFault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeFault::UnknownType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecodeFault::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Rejected::new(status, picket_base::chain(error))
}

/// Returns what a Content-Type says; with a form the body is raw pixels, and nothing else fits.
fn media(value: Option<&str>, form: Option<RawForm>) -> Result<Option<MediaType>, Rejected> {
    let stated = value.map(MediaType::from_content_type).transpose();
    let stated = stated.map_err(|error| refusal(&error))?;
    match (stated.flatten(), form) {
        (stated, None) => Ok(stated),
        (None | Some(MediaType::Raw), Some(form)) => Ok(Some(MediaType::RawForm(form))),
        (Some(other), Some(_)) => {
            let name = other.name();
            let text = format!("query: width, height and format are of raw pixels, not of {name}");
            Err(Rejected::new(StatusCode::BAD_REQUEST, text))
        }
    }
}

fn is_multipart(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

/// Whether the body is in gzip; any other coding is refused.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Rejected> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let all = values.join(",").to_ascii_lowercase();
    let mut codings =
        all.split(',').map(str::trim).filter(|coding| !matches!(*coding, "" | "identity"));
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some("gzip" | "x-gzip"), None) => Ok(true),
        _ => {
            let all: String = all.chars().take(100).collect();
            let text = format!("Content-Encoding is {all}, only gzip is taken here");
            Err(Rejected::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
        }
    }
}

fn malformed(why: &FormError) -> Rejected {
    Rejected::new(StatusCode::BAD_REQUEST, format!("multipart body: {why}"))
}
