//! What the two text formats share: the head of a line, and texts that repeat in every series.

/// Writes a float the way one of the formats wants it.
pub(super) type WriteFloat = fn(&mut Vec<u8>, f64);

/// Appends everything of a line up to its value: `name_suffix{labels} `.
pub(super) fn write_head(page: &mut Vec<u8>, name: &str, suffix: &str, labels: &str) {
    page.extend_from_slice(name.as_bytes());
    page.extend_from_slice(suffix.as_bytes());
    if !labels.is_empty() {
        page.push(b'{');
        page.extend_from_slice(labels.as_bytes());
        page.push(b'}');
    }
    page.push(b' ');
}

/// The same with one more label, which stands last whatever its name: `name_suffix{labels,le="1"} `.
pub(super) fn write_head_with(
    page: &mut Vec<u8>,
    name: &str,
    suffix: &str,
    labels: &str,
    extra: &[u8],
) {
    page.extend_from_slice(name.as_bytes());
    page.extend_from_slice(suffix.as_bytes());
    page.push(b'{');
    if !labels.is_empty() {
        page.extend_from_slice(labels.as_bytes());
        page.push(b',');
    }
    page.extend_from_slice(extra);
    page.extend_from_slice(b"} ");
}

/// Appends `text` with `\` and newline escaped, and the characters that `also` names.
pub(super) fn write_escaped(page: &mut Vec<u8>, text: &str, also: Option<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\n' => page.extend_from_slice(b"\\n"),
            b'\\' => page.extend_from_slice(b"\\\\"),
            _ if Some(byte) == also => page.extend_from_slice(&[b'\\', byte]),
            _ => page.push(byte),
        }
    }
}

/// The `le` or `quantile` labels of a family, printed once for all of its series.
#[derive(Debug)]
pub(super) struct ExtraLabels {
    key: &'static str,
    write: WriteFloat,
    values: Vec<f64>,
    texts: Vec<Vec<u8>>,
}

impl ExtraLabels {
    /// No labels yet; all will be called `key`.
    pub(super) fn new(key: &'static str, write: WriteFloat) -> Self {
        Self { key, write, values: Vec::new(), texts: Vec::new() }
    }

    /// The labels `key="value"` for these values, in their order.
    pub(super) fn of(&mut self, values: impl Iterator<Item = f64> + Clone) -> &[Vec<u8>] {
        let is_known = self.values.iter().copied().eq(values.clone());
        if !is_known {
            self.values.clear();
            self.values.extend(values);
            self.render();
        }
        &self.texts
    }

    fn render(&mut self) {
        self.texts.clear();
        for &value in &self.values {
            let mut text = format!("{}=\"", self.key).into_bytes();
            (self.write)(&mut text, value);
            text.push(b'"');
            self.texts.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::number::write_float;

    #[test]
    fn braces_need_a_label() {
        let mut page = Vec::new();
        write_head(&mut page, "a", "", "");
        write_head(&mut page, "a", "_sum", "k=\"v\"");
        write_head_with(&mut page, "a", "", "", b"le=\"1\"");
        write_head_with(&mut page, "a", "", "zz=\"v\"", b"le=\"1\"");
        let expected = "a a_sum{k=\"v\"} a{le=\"1\"} a{zz=\"v\",le=\"1\"} ";
        assert_eq!(String::from_utf8(page).unwrap(), expected);
    }

    #[test]
    fn extra_labels_follow_the_values() {
        let mut labels = ExtraLabels::new("le", write_float);
        assert_eq!(labels.of([0.5, 1e6].into_iter()), [&b"le=\"0.5\""[..], b"le=\"1e+06\""]);
        assert_eq!(labels.of([0.5, 1e6].into_iter()).len(), 2);
        assert_eq!(labels.of([0.5].into_iter()), [b"le=\"0.5\""]);
        assert!(labels.of([].into_iter()).is_empty());
    }
}
