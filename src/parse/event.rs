//! DogStatsD events and service checks, which are no metrics.
//!
//! An event is `_e{TITLE LENGTH,TEXT LENGTH}:TITLE|TEXT|…`, a service check `_sc|NAME|STATUS|…`.
//! Their content is never read: neither has a place among Prometheus' metrics.

/// Whether a line is an event or a service check, going by how it begins.
pub(super) fn is_event(line: &[u8]) -> bool {
    line.starts_with(b"_e{") || line.starts_with(b"_sc|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_service_checks_are_known_by_their_beginning() {
        check("_e{5,4}:title|text", true);
        check("_sc|Redis connection|2|#env:dev|m:timed out", true);
        check("_sc:1|c", false);
        check("_e:1|c", false);
        check("a_e{5,4}:title|text", false);
    }

    #[track_caller]
    fn check(line: &str, expected: bool) {
        assert_eq!(is_event(line.as_bytes()), expected, "{line}");
    }
}
