//! Requests taken apart, and answers put together.

use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::Logged;

/// A request, taken apart.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The parts of the path, not escaped.
    pub(crate) path: Vec<String>,
    /// What follows the path, as it came.
    pub(crate) raw_query: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// An answer, good or bad.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// Both are answers; a refusal ends the handling.
pub(crate) type Reply = Result<Answer, Answer>;

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

impl Request {
    pub(crate) fn new(logged: &Logged, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let part = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self {
            method: logged.method.clone(),
            path: path.split('/').filter(|part| !part.is_empty()).map(part).collect(),
            raw_query: query.to_owned(),
            query: query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect(),
            headers: logged.headers.clone(),
            body: logged.body.clone(),
        }
    }

    /// The same with the body's form fields for a query.
    pub(crate) fn form(&self) -> Self {
        let logged = Logged {
            method: self.method.clone(),
            target: String::new(),
            headers: Vec::new(),
            body: String::new(),
        };
        Self::new(&logged, &format!("/?{}", self.body))
    }

    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.many(name).first().copied()
    }

    pub(crate) fn many(&self, name: &str) -> Vec<&str> {
        let named = self.query.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        self.one(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The fields of a body that may be YAML, as far as it is JSON too.
    pub(crate) fn yaml(&self) -> Result<Map<String, Value>, Answer> {
        if self.header("content-type") != Some("application/yaml") {
            return self.json();
        }
        serde_json::from_str(&self.body).map_err(|_| Answer::refuse(400, "bad request data"))
    }

    /// The body's fields; without the right type there is no body, as with Grafana.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, Answer> {
        let content_type = self.header("content-type").unwrap_or_default();
        let is_json = content_type.split(';').next().is_some_and(|kind| kind == "application/json");
        match serde_json::from_str(&self.body) {
            Ok(Value::Object(fields)) if is_json => Ok(fields),
            _ => Err(Answer::refuse(400, "bad request data")),
        }
    }
}

impl Answer {
    pub(crate) fn raw(status: u16, body: &str, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Self { status, body: body.as_bytes().to_vec(), headers: headers.collect() }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let kind = ("content-type".to_owned(), "application/json; charset=UTF-8".to_owned());
        Self { status, body: body.to_string().into_bytes(), headers: vec![kind] }
    }

    #[expect(clippy::unnecessary_wraps, reason = "most handlers end with it")]
    pub(crate) fn ok(body: &Value) -> Reply {
        Ok(Self::json(200, body))
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, body: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn refuse(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }

    /// A refusal with one word more.
    pub(crate) fn refuse_as(status: u16, message: &str, word: &str) -> Self {
        Self::json(status, &json!({ "message": message, "status": word }))
    }

    /// A refusal in the form of newer versions' libraries.
    pub(crate) fn refuse_with_id(status: u16, message: &str, id: &str) -> Self {
        let body =
            json!({"message": message, "messageId": id, "statusCode": status, "traceID": ""});
        Self::json(status, &body)
    }

    /// A refusal of `/apis`.
    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        Self::json(code, &body)
    }

    pub(crate) fn into_response(self) -> Result<hyper::Response<Full<Bytes>>, &'static str> {
        let mut response = hyper::Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body.into())).map_err(|_| "not an answer")
    }
}

/// A field's text; empty where there is none.
pub(crate) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A field's number; zero where there is none.
pub(crate) fn number(fields: &Map<String, Value>, name: &str) -> u64 {
    fields.get(name).and_then(Value::as_u64).unwrap_or_default()
}
