//! What the two text formats share: lines that are written quickly, and texts that repeat in every
//! series.

use smallvec::SmallVec;

/// Writes a float the way one of the formats wants it.
pub(super) type WriteFloat = fn(&mut Vec<u8>, f64);

/// What [`Room`] copies at once.
const STEP: usize = 32;

/// A value takes no more than this: the longest float has 24 characters.
const VALUE_BYTES: usize = 32;

/// Room at the end of a page, made once for all lines of a series.
///
/// Most of a page is the same few bytes again and again. Copies of a fixed size cost no call, and
/// what they write too much is overwritten by what follows.
pub(super) struct Room<'a> {
    page: &'a mut Vec<u8>,
    at: usize,
}

/// What the lines of one series begin with.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// The family's name, or what the format makes of it.
    pub(super) name: &'a str,
    /// The labels without braces.
    pub(super) labels: &'a [u8],
}

impl Head<'_> {
    /// About what `lines` lines take whose suffix and label of their own have `extra` bytes at most.
    pub(super) fn bytes(self, lines: usize, extra: usize) -> usize {
        lines * (self.name.len() + self.labels.len() + extra + VALUE_BYTES)
    }
}

impl<'a> Room<'a> {
    /// Room for so many bytes; more is made where they do not suffice.
    pub(super) fn new(page: &'a mut Vec<u8>, bytes: usize) -> Self {
        let at = page.len();
        page.resize(at + bytes + STEP, 0);
        Self { page, at }
    }

    /// Gives back what was not used.
    pub(super) fn close(self) {
        self.page.truncate(self.at);
    }

    /// Everything of a line up to its value: `name_suffix{labels} `.
    #[inline]
    pub(super) fn put_head(&mut self, head: Head<'_>, suffix: &str) {
        self.put(head.name.as_bytes());
        self.put(suffix.as_bytes());
        if !head.labels.is_empty() {
            self.put_byte(b'{');
            self.put(head.labels);
            self.put_byte(b'}');
        }
        self.put_byte(b' ');
    }

    /// One line for each of `labels`, which stand last whatever their name:
    /// `name_suffix{labels,le="1"} value`. `put_value` writes the value of the line with a number.
    #[inline]
    pub(super) fn put_lines(
        &mut self,
        head: Head<'_>,
        suffix: &str,
        labels: &ExtraLabels,
        mut put_value: impl FnMut(&mut Self, usize),
    ) {
        let start = self.at;
        let mut repeated = 0;
        for (i, label) in labels.texts.iter().enumerate() {
            if i == 0 {
                self.put(head.name.as_bytes());
                self.put(suffix.as_bytes());
                self.put_byte(b'{');
                if !head.labels.is_empty() {
                    self.put(head.labels);
                    self.put_byte(b',');
                }
                repeated = self.at - start;
            } else {
                self.repeat(start, repeated);
            }
            self.put_padded(label);
            put_value(self, i);
        }
    }

    /// An integer that is written digit by digit, and the end of the line.
    #[inline]
    pub(super) fn put_uint(&mut self, value: u64) {
        if value < 10 {
            let digit = b'0' + u8::try_from(value).unwrap_or_default();
            self.put_array([digit, b'\n']);
        } else {
            self.put(itoa::Buffer::new().format(value).as_bytes());
            self.put_byte(b'\n');
        }
    }

    /// A float as the format has it, and the end of the line.
    #[inline]
    pub(super) fn put_float(&mut self, value: f64, write: WriteFloat) {
        // What is beyond `at` are remains of copies: nothing is lost when the page ends there.
        let end = self.page.len();
        self.page.truncate(self.at);
        write(self.page, value);
        self.page.push(b'\n');
        self.at = self.page.len();
        self.page.resize(end.max(self.at), 0);
    }

    /// Copies bytes of the page to its end.
    #[inline]
    fn repeat(&mut self, from: usize, length: usize) {
        let end = self.at + length;
        self.reach(end + STEP);
        let mut done = 0;
        while done < length {
            let step = self.page.get(from + done..).and_then(<[u8]>::first_chunk::<STEP>).copied();
            let place = self.page.get_mut(self.at + done..);
            let place = place.and_then(<[u8]>::first_chunk_mut::<STEP>);
            if let (Some(step), Some(place)) = (step, place) {
                *place = step;
            }
            done += STEP;
        }
        self.at = end;
    }

    #[inline]
    fn put_padded(&mut self, text: &Padded) {
        let end = self.at + text.length;
        self.reach(end + STEP);
        let place = self.page.get_mut(self.at..).unwrap_or_default();
        for (place, step) in place.as_chunks_mut::<STEP>().0.iter_mut().zip(&text.steps) {
            *place = *step;
        }
        self.at = end;
    }

    #[inline]
    fn put(&mut self, text: &[u8]) {
        let end = self.at + text.len();
        self.reach(end);
        if let Some(place) = self.page.get_mut(self.at..end) {
            place.copy_from_slice(text);
        }
        self.at = end;
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) {
        self.put_array([byte]);
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.reach(self.at + N);
        if let Some(place) = self.page.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<N>) {
            *place = bytes;
        }
        self.at += N;
    }

    /// Makes sure that the page has so many bytes.
    #[inline]
    fn reach(&mut self, end: usize) {
        if end > self.page.len() {
            self.page.resize(end, 0);
        }
    }
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

/// A text that is copied in whole steps.
#[derive(Debug, Default)]
struct Padded {
    steps: SmallVec<[[u8; STEP]; 1]>,
    length: usize,
}

impl Padded {
    fn new(text: &[u8]) -> Self {
        let step = |part: &[u8]| {
            let mut step = [0; STEP];
            step.iter_mut().zip(part).for_each(|(place, byte)| *place = *byte);
            step
        };
        Self { steps: text.chunks(STEP).map(step).collect(), length: text.len() }
    }
}

/// The `le` or `quantile` labels of a family, printed once for all of its series, each with what
/// follows it: `le="0.5"} `.
#[derive(Debug)]
pub(super) struct ExtraLabels {
    key: &'static str,
    write: WriteFloat,
    values: Vec<f64>,
    texts: Vec<Padded>,
}

impl ExtraLabels {
    /// No labels yet; all will be called `key`.
    pub(super) fn new(key: &'static str, write: WriteFloat) -> Self {
        Self { key, write, values: Vec::new(), texts: Vec::new() }
    }

    /// Gets the labels for these values ready, in their order.
    pub(super) fn set(&mut self, values: impl Iterator<Item = f64> + Clone) {
        let is_known = self.values.iter().copied().eq(values.clone());
        if !is_known {
            self.values.clear();
            self.values.extend(values);
            self.render();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// What the longest of them takes.
    pub(super) fn longest(&self) -> usize {
        self.texts.iter().map(|text| text.length).max().unwrap_or_default()
    }

    fn render(&mut self) {
        self.texts.clear();
        for &value in &self.values {
            let mut text = format!("{}=\"", self.key).into_bytes();
            (self.write)(&mut text, value);
            text.extend_from_slice(b"\"} ");
            self.texts.push(Padded::new(&text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::number::write_float;

    #[test]
    fn braces_need_a_label() {
        let lines = |room: &mut Room<'_>, name: &str, labels: &str| {
            room.put_head(Head { name, labels: labels.as_bytes() }, "_sum");
            room.put_uint(7);
        };
        check(|room| lines(room, "a", ""), "a_sum 7\n");
        check(|room| lines(room, "a", "k=\"v\""), "a_sum{k=\"v\"} 7\n");
    }

    #[test]
    fn extra_labels_stand_last_and_follow_the_values() {
        let mut labels = ExtraLabels::new("le", write_float);
        let expected = "a_b{zz=\"v\",le=\"0.5\"} 0\na_b{zz=\"v\",le=\"1e+06\"} 1000\n";
        labels.set([0.5, 1e6].into_iter());
        check(|room| put_lines(room, "zz=\"v\"", &labels), expected);
        labels.set([0.5].into_iter());
        check(|room| put_lines(room, "", &labels), "a_b{le=\"0.5\"} 0\n");
        labels.set([].into_iter());
        check(|room| put_lines(room, "", &labels), "");
    }

    #[test]
    fn labels_may_be_longer_than_a_copy() {
        let mut labels = ExtraLabels::new("a_label_of_some_length_and_then_a_little", write_float);
        labels.set([-f64::MAX, 1.0].into_iter());
        let long = format!("k=\"{}\"", "x".repeat(1000));
        let key = "a_label_of_some_length_and_then_a_little";
        let expected = format!(
            "a_b{{{long},{key}=\"-1.7976931348623157e+308\"}} 0\na_b{{{long},{key}=\"1\"}} 1000\n"
        );
        check(|room| put_lines(room, &long, &labels), &expected);
    }

    fn put_lines(room: &mut Room<'_>, labels: &str, extra: &ExtraLabels) {
        room.put_lines(Head { name: "a", labels: labels.as_bytes() }, "_b", extra, |room, i| {
            if i == 0 { room.put_float(0.0, write_float) } else { room.put_uint(1000) }
        });
    }

    /// Writes with ample room and with none.
    #[track_caller]
    fn check(put: impl Fn(&mut Room<'_>), expected: &str) {
        for bytes in [0, 10_000] {
            let mut page = b"before ".to_vec();
            let mut room = Room::new(&mut page, bytes);
            put(&mut room);
            room.close();
            assert_eq!(String::from_utf8(page).unwrap(), format!("before {expected}"));
        }
    }
}
