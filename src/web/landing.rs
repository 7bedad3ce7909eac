//! The page at `/`: what this is and where the metrics are.

use std::fmt::Write as _;

/// The page's HTML. The link is relative, so that it also leads home behind a proxy's path prefix.
pub(super) fn landing_page(telemetry_path: &str) -> String {
    let link = escape(telemetry_path.trim_start_matches('/'));
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head><meta charset=\"utf-8\"><title>tallyd</title></head>\n\
         <body>\n\
         <h1>tallyd {version}</h1>\n\
         <p>Takes StatsD and DogStatsD datagrams and lets Prometheus scrape the result.</p>\n\
         <ul><li><a href=\"./{link}\">Metrics</a></li></ul>\n\
         </body>\n\
         </html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Makes a path safe inside a quoted attribute; what has a meaning in a URL but not in a path is
/// percent-encoded.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-._~:@!$*+,;=()".contains(&byte);
        if is_plain {
            escaped.push(char::from(byte));
        } else if write!(escaped, "%{byte:02X}").is_err() {
            return String::new();
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_leads_to_the_metrics() {
        check("/metrics", "\"./metrics\"");
        check("/foo/bar", "\"./foo/bar\"");
        check("/a\"><script>", "\"./a%22%3E%3Cscript%3E\"");
        check("/größe?x#y%", "\"./gr%C3%B6%C3%9Fe%3Fx%23y%25\"");
    }

    #[track_caller]
    fn check(telemetry_path: &str, expected: &str) {
        let page = landing_page(telemetry_path);
        assert!(page.contains(&format!("href={expected}")), "{page}");
    }
}
