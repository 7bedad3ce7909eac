//! One request, before it is known where to.

use reqwest::Method;
use serde_json::Value;

use super::error::Error;
use super::refusal::Reason;

/// A request below the base URL.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The path's parts, not escaped.
    pub(super) path: Vec<&'a str>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Body>,
    /// The permissions it is known to need.
    pub(super) needs: &'static str,
    repeat: Repeat,
}

/// A body and its type.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing.
    Reading,
    /// Twice is as good as once.
    Idempotent,
    /// Only when it was certainly not obeyed.
    Unsent,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &[&'a str], repeat: Repeat) -> Self {
        Self {
            method,
            path: path.to_vec(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            needs: "",
            repeat,
        }
    }

    pub(super) fn get(path: &[&'a str]) -> Self {
        Self::new(Method::GET, path, Repeat::Reading)
    }

    pub(super) fn delete(path: &[&'a str]) -> Self {
        Self::new(Method::DELETE, path, Repeat::Idempotent)
    }

    pub(super) fn put(path: &[&'a str], body: &Value) -> Self {
        Self::new(Method::PUT, path, Repeat::Idempotent).json(body)
    }

    pub(super) fn post(path: &[&'a str], body: &Value) -> Self {
        Self::new(Method::POST, path, Repeat::Unsent).json(body)
    }

    /// A POST of YAML, of which JSON is a part.
    pub(super) fn post_yaml(path: &[&'a str], body: &Value) -> Self {
        Self::new(Method::POST, path, Repeat::Unsent).body("application/yaml", body.to_string())
    }

    /// A reading POST: its parameters are too long for a URL.
    pub(super) fn post_form(path: &[&'a str], form: String) -> Self {
        let call = Self::new(Method::POST, path, Repeat::Reading);
        call.body("application/x-www-form-urlencoded", form)
    }

    fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    fn body(self, content_type: &'static str, text: String) -> Self {
        Self { body: Some(Body { content_type, text }), ..self }
    }

    /// Says that a POST may be sent twice.
    pub(super) fn idempotent(self) -> Self {
        Self { repeat: Repeat::Idempotent, ..self }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn needs(self, permissions: &'static str) -> Self {
        Self { needs: permissions, ..self }
    }

    /// Whether this may be sent again after `error`.
    ///
    /// A missed time is not tried again: the next attempt would take as long.
    pub(super) fn may_repeat_after(&self, error: &Error) -> bool {
        if error.is_unsent() {
            return true;
        }
        let is_gateway = matches!(error.status(), Some(502 | 504));
        match self.repeat {
            Repeat::Unsent => false,
            Repeat::Idempotent => is_gateway || matches!(error, Error::Broken { .. }),
            Repeat::Reading => {
                error.reason() == Some(Reason::Server) || matches!(error, Error::Broken { .. })
            }
        }
    }
}
