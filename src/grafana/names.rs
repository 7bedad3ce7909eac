//! Words of metric names: what people read, what groups share, what Grafana calls a dashboard.

/// Endings that say what a sample is, not what is measured.
const KIND_WORDS: [&str; 1] = ["total"];

/// Words that people write in capitals.
const CAPITALS: [&str; 24] = [
    "api", "cpu", "dag", "db", "dns", "gc", "grpc", "html", "http", "https", "id", "io", "ip",
    "jvm", "rpc", "sql", "tcp", "tls", "ttl", "udp", "ui", "url", "wal", "uid",
];

/// A uid has at most this many characters.
pub const MAX_UID: usize = 40;

/// The words of a name: of `api_requests_total` they are `api`, `requests` and `total`.
#[must_use = "nothing is split before it is asked for"]
pub fn words(name: &str) -> impl DoubleEndedIterator<Item = &str> {
    name.split(['_', ':']).filter(|word| !word.is_empty())
}

/// The name without `_total` and without the word that names its unit.
#[must_use]
pub fn stem(name: &str) -> &str {
    let mut stem = name;
    for is_ending in [|word: &str| KIND_WORDS.contains(&word), super::unit::is_unit_word] {
        if let Some((rest, last)) = stem.rsplit_once('_')
            && !rest.is_empty()
            && is_ending(last)
        {
            stem = rest;
        }
    }
    stem
}

/// A name as people write it: `api_request_duration_seconds` is `API request duration`.
#[must_use]
pub fn title(name: &str) -> String {
    let mut title = String::new();
    for word in words(stem(name)) {
        if !title.is_empty() {
            title.push(' ');
        }
        if CAPITALS.contains(&word.to_ascii_lowercase().as_str()) {
            title.push_str(&word.to_ascii_uppercase());
        } else if title.is_empty() {
            title.push_str(&capitalized(word));
        } else {
            title.push_str(word);
        }
    }
    if title.is_empty() { name.to_owned() } else { title }
}

/// A word with a capital at its beginning.
#[must_use]
pub fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Small letters, digits and single dashes, at most `limit` of them.
#[must_use]
pub fn slug(text: &str, limit: usize) -> String {
    let mut slug = String::new();
    for char in text.chars() {
        if char.is_ascii_alphanumeric() {
            slug.push(char.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(limit);
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// The uid of what has a kind and a name in an environment: always the same, at most
/// [`MAX_UID`] characters, and another one wherever any of the three differs.
#[must_use]
pub fn uid(kind: &str, name: &str, environment: &str) -> String {
    const PREFIX: &str = "tallyd-";
    let checksum = checksum(&[kind, name, environment]);
    let readable = slug(&format!("{name} {environment}"), MAX_UID - PREFIX.len() - 9);
    format!("{PREFIX}{readable}-{checksum:08x}")
}

/// A number for some texts, the same on every machine; it keeps apart, it hides nothing.
#[must_use]
pub fn checksum(texts: &[&str]) -> u32 {
    let mut crc = flate2::Crc::new();
    for text in texts {
        crc.update(text.as_bytes());
        crc.update(&[0]);
    }
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_leave_out_kind_and_unit() {
        for (name, expected) in [
            ("api_request_duration_seconds", "API request duration"),
            ("net_received_bytes_total", "Net received"),
            ("seconds", "Seconds"),
            ("db:queries:total", "DB queries total"),
            ("__", "__"),
        ] {
            assert_eq!(title(name), expected, "{name}");
        }
    }

    #[test]
    fn uids_are_short_legal_and_their_own() {
        let long = "a very long name of something ".repeat(4);
        let uids = [
            uid("overview", "Shop", ""),
            uid("overview", "Shop", "prod"),
            uid("group", "Shop", ""),
            uid("group", &long, "prod"),
            uid("group", &long, "test"),
        ];
        for (i, uid) in uids.iter().enumerate() {
            assert!(uid.len() <= MAX_UID, "{uid}");
            assert!(uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{uid}");
            assert!(!uids[..i].contains(uid), "{uid}");
        }
        assert_eq!(uids[0], uid("overview", "Shop", ""));
    }

    #[test]
    fn slugs_have_single_dashes_inside() {
        for (text, limit, expected) in
            [("Shop / EU ", 20, "shop-eu"), ("a--b c", 2, "a"), ("é", 9, ""), ("A_b", 9, "a-b")]
        {
            assert_eq!(slug(text, limit), expected);
        }
    }
}
