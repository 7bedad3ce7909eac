//! Prometheus itself, without Grafana before it.

use std::error::Error;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::CONTENT_TYPE;

use super::when::Span;
use crate::grafana::cli::CommandError;
use crate::grafana::prometheus::{Answer, AnswerError};

/// Asks the Prometheus at `url`.
pub(super) async fn ask(
    url: &str,
    expression: &str,
    span: Span,
    timeout: Duration,
) -> Result<Answer, CommandError> {
    let answer = answer(url, expression, span, timeout).await;
    answer.map_err(|source| CommandError::Failed {
        what: format!("ask the Prometheus at {}", without_password(url)),
        source,
    })
}

async fn answer(
    url: &str,
    expression: &str,
    span: Span,
    timeout: Duration,
) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let (endpoint, times) = match span {
        Span::At(time) => ("query", vec![("time", time)]),
        Span::Over(range) => {
            ("query_range", vec![("start", range.start), ("end", range.end), ("step", range.step)])
        }
    };
    let query = ("query", expression.to_owned());
    let times = times.into_iter().map(|(name, time)| (name, time.to_string()));
    let parameters = std::iter::once(query)
        .chain(times)
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
    crate::tls::install_provider();
    let client = reqwest::Client::builder().timeout(timeout).build()?;
    let request = client
        .post(format!("{}/api/v1/{endpoint}", url.trim_end_matches('/')))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(parameters.collect::<Vec<_>>().join("&"));
    // The message says where already, without the password.
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status();
    let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
    match Answer::read(&body) {
        Err(AnswerError::Malformed(_)) if !status.is_success() => {
            Err(format!("it answered {status}").into())
        }
        answer => Ok(answer?),
    }
}

/// The URL for messages.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_told() {
        assert_eq!(without_password("http://me:se@cret@host:1/x"), "http://host:1/x");
        assert_eq!(without_password("http://host:1/x"), "http://host:1/x");
    }
}
