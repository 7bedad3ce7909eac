//! Queries to Prometheus, through Grafana's proxy to its data sources.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Client;
use super::call::Call;
use super::error::Error;
use crate::grafana::prometheus::{Answer, AnswerError, Range};

/// Longer queries go into a body, since proxies refuse long URLs.
const MAX_QUERY_BYTES: usize = 2000;

impl Client {
    /// Evaluates a query at a time in Unix seconds, now without one.
    ///
    /// Nothing is filled in: Grafana's variables, such as `$__rate_interval`, are unknown here.
    ///
    /// # Errors
    /// `Query` with what Prometheus says of the expression.
    pub async fn query(
        &self,
        datasource_uid: &str,
        expression: &str,
        time: Option<f64>,
    ) -> Result<Answer, Error> {
        let time = time.map(|time| ("time", time.to_string()));
        let parameters = [("query", expression.to_owned())].into_iter().chain(time).collect();
        self.ask_prometheus(datasource_uid, "query", parameters).await
    }

    /// Evaluates a query again and again over a stretch of time.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_range(
        &self,
        datasource_uid: &str,
        expression: &str,
        range: Range,
    ) -> Result<Answer, Error> {
        let parameters = vec![
            ("query", expression.to_owned()),
            ("start", range.start.to_string()),
            ("end", range.end.to_string()),
            ("step", range.step.to_string()),
        ];
        self.ask_prometheus(datasource_uid, "query_range", parameters).await
    }

    async fn ask_prometheus(
        &self,
        datasource_uid: &str,
        endpoint: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<Answer, Error> {
        let path = ["api", "datasources", "proxy", "uid", datasource_uid, "api", "v1", endpoint];
        let length: usize = parameters.iter().map(|(_, value)| value.len()).sum();
        let call = if length > MAX_QUERY_BYTES {
            Call::post_form(&path, form(&parameters))
        } else {
            let call = Call::get(&path);
            parameters.into_iter().fold(call, |call, (name, value)| call.query(name, value))
        };
        match self.transport().send(call.needs("datasources:query")).await {
            Ok(answer) => Ok(Answer::read(&answer.body)?),
            Err(Error::Refused(mut refusal)) => match refusal.error_type.take() {
                Some(kind) => Err(AnswerError::Refused { kind, message: refusal.message }.into()),
                None => Err(refusal.into()),
            },
            Err(error) => Err(error),
        }
    }
}

fn form(parameters: &[(&str, String)]) -> String {
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}
