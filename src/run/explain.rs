//! `GET /api/v1/explain?line=`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::api::json;
use super::site::Site;
use crate::explain::MAX_LINE_BYTES;
use crate::web::Reply;

/// Where lines are explained.
pub(super) const PATH: &str = "/api/v1/explain";

/// Why a request gets no explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadRequest {
    NoLine,
    SeveralLines,
    TooLong,
}

/// The answer to a request.
pub(super) fn answer(site: &Site, query: &str) -> Reply {
    match line(query) {
        Ok(line) => json(200, &site.explainer().explain(&line)),
        Err(BadRequest::NoLine) => json(400, &"write ?line=, and the line percent-encoded"),
        Err(BadRequest::SeveralLines) => json(400, &"one line at a time"),
        Err(BadRequest::TooLong) => {
            json(414, &format!("a line has at most {MAX_LINE_BYTES} bytes"))
        }
    }
}

/// The line that a query asks about, written as forms send it: a `+` is a blank.
fn line(query: &str) -> Result<Vec<u8>, BadRequest> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("line="));
    let text = values.next().ok_or(BadRequest::NoLine)?.replace('+', " ");
    let line = Cow::from(percent_decode_str(&text)).into_owned();
    if values.next().is_some() || line.contains(&b'\n') {
        return Err(BadRequest::SeveralLines);
    }
    if line.len() > MAX_LINE_BYTES { Err(BadRequest::TooLong) } else { Ok(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_sent_as_forms_send_it() {
        check("line=a%3A%2B1%7Cg", Ok("a:+1|g"));
        check("x=1&line=a+b:1|c", Ok("a b:1|c"));
        check("line=", Ok(""));
        check("", Err(BadRequest::NoLine));
        check("lines=a", Err(BadRequest::NoLine));
        check("line=a&line=b", Err(BadRequest::SeveralLines));
        check("line=a%0Ab", Err(BadRequest::SeveralLines));
        check(&format!("line={}", "a".repeat(MAX_LINE_BYTES + 1)), Err(BadRequest::TooLong));
    }

    #[track_caller]
    fn check(query: &str, expected: Result<&str, BadRequest>) {
        assert_eq!(line(query), expected.map(|line| line.as_bytes().to_vec()), "{query}");
    }
}
