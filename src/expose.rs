//! One walk over the families, several formats.

use std::collections::HashSet;

use crate::aggregate::histogram::HistogramValue;

use self::negotiate::Format;
use self::openmetrics::{HasFamily, OpenMetrics, UnitOf};
use self::protobuf::Protobuf;
use self::text::Text;

mod number;
mod line;
pub mod text;
pub mod openmetrics;
pub mod protobuf;
pub mod negotiate;
pub mod own;
pub mod joined;
pub mod walk;

pub use joined::Joined;

/// A metric family as the encoders see it.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// A metric name of the old character set, `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub name: &'a str,
    /// Free text, not yet escaped.
    pub help: &'a str,
    /// What `# TYPE` says.
    pub kind: FamilyKind,
}

/// The types of the exposition formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// `counter`
    Counter,
    /// `gauge`
    Gauge,
    /// `histogram`
    Histogram,
    /// `summary`
    Summary,
}

/// The value of one series.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A counter or a gauge.
    Number(f64),
    /// A histogram; `bounds` are its finite upper bounds.
    Histogram {
        /// Finite upper bounds, one fewer than `value.counts`.
        bounds: &'a [f64],
        /// The buckets.
        value: &'a HistogramValue,
    },
    /// A summary.
    Summary {
        /// Quantile and value.
        quantiles: &'a [(f64, f64)],
        /// The sum of all samples.
        sum: f64,
        /// Their number.
        count: u64,
    },
}

/// A series as the encoders see it.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The labels as the text format writes them, values escaped, sorted by name, without braces:
    /// `code="200",view="fire"`. Both text formats copy it, protobuf takes it apart again. UTF-8.
    pub labels: &'a [u8],
    /// When the series began, in seconds since 1970.
    pub created_seconds: f64,
    /// What it stands at.
    pub value: Value<'a>,
}

/// One exposition format. Calls come as `begin`, `series`…, `end` for each family, `finish` last.
///
/// Everything is appended to `page`; the caller empties it between calls when it grows.
pub trait Encoder: Send {
    /// Opens a family.
    fn begin(&mut self, page: &mut Vec<u8>, family: &Family<'_>);
    /// Writes one series of the family last begun.
    fn series(&mut self, page: &mut Vec<u8>, family: &Family<'_>, series: &Series<'_>);
    /// Closes the family.
    fn end(&mut self, page: &mut Vec<u8>, family: &Family<'_>);
    /// Closes the page.
    fn finish(&mut self, page: &mut Vec<u8>);
    /// Tells which families the page has besides the one that is being written.
    fn set_families(&mut self, has_family: HasFamily) {
        drop(has_family);
    }
    /// Tells the units of families, for formats that have a line for them.
    fn set_units(&mut self, unit_of: UnitOf) {
        drop(unit_of);
    }
    /// Whether native buckets appear in this format.
    fn shows_native(&self) -> bool {
        false
    }
}

impl Format {
    /// A fresh encoder for one page.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Self::Text => Box::new(Text::default()),
            Self::OpenMetrics | Self::OpenMetricsDraft => Box::new(OpenMetrics::default()),
            Self::Protobuf => Box::new(Protobuf::default()),
        }
    }
}

/// Takes a part of a page and leaves the buffer empty; returns whether more is wanted.
pub type Sink<'a> = dyn FnMut(&mut Vec<u8>) -> bool + 'a;

/// The page of one scrape, written family by family and sent away in parts.
///
/// ```
/// use tallyd::expose::text::Text;
/// use tallyd::expose::{Family, FamilyKind, Page, Series, Value};
///
/// let mut written = Vec::new();
/// let mut sink = |part: &mut Vec<u8>| {
///     written.append(part);
///     true
/// };
/// let mut page = Page::new(Box::new(Text::default()), &mut sink);
/// let family = Family { name: "hits_total", help: "Hits.", kind: FamilyKind::Counter };
/// if page.begin(&family) {
///     let value = Value::Number(30.0);
///     page.series(&family, &Series { labels: br#"view="fire""#, created_seconds: 0.0, value });
///     page.end(&family);
/// }
/// assert!(page.finish());
/// assert!(written.ends_with(b"hits_total{view=\"fire\"} 30\n"));
/// ```
pub struct Page<'a> {
    encoder: Box<dyn Encoder>,
    sink: &'a mut Sink<'a>,
    buffer: Vec<u8>,
    only: HashSet<String>,
    is_open: bool,
}

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("only", &self.only).finish_non_exhaustive()
    }
}

impl<'a> Page<'a> {
    /// The size from which on a part is sent; a little more is sent when a series ends beyond it.
    ///
    /// A part goes from the thread that writes the page to the one that sends it, and on one core
    /// the change of threads costs about what sending 64 KiB does; hence few large parts.
    pub const PART_BYTES: usize = 128 * 1024;

    /// An empty page that shows all families.
    pub fn new(encoder: Box<dyn Encoder>, sink: &'a mut Sink<'a>) -> Self {
        Self { encoder, sink, buffer: Vec::new(), only: HashSet::new(), is_open: true }
    }

    /// Shows no other families than these, by name; none given means all.
    #[must_use]
    pub fn only(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.only = names.into_iter().collect();
        self
    }

    /// Opens a family; `false` when it is not wanted and the walk should go on to the next.
    pub fn begin(&mut self, family: &Family<'_>) -> bool {
        let is_wanted = self.only.is_empty() || self.only.contains(family.name);
        if is_wanted && self.is_open {
            self.encoder.begin(&mut self.buffer, family);
        }
        is_wanted && self.is_open
    }

    /// Writes one series of the family last begun; `false` when the client has gone and the walk
    /// should end.
    pub fn series(&mut self, family: &Family<'_>, series: &Series<'_>) -> bool {
        if self.is_open {
            self.encoder.series(&mut self.buffer, family, series);
            self.send_if_full();
        }
        self.is_open
    }

    /// Closes the family last begun; `false` as for `series`.
    pub fn end(&mut self, family: &Family<'_>) -> bool {
        if self.is_open {
            self.encoder.end(&mut self.buffer, family);
            self.send_if_full();
        }
        self.is_open
    }

    /// Tells which families there are; must come before the first one, where names can clash.
    pub fn set_families(&mut self, has_family: HasFamily) {
        self.encoder.set_families(has_family);
    }

    /// Tells the units of families; must come before the first one.
    pub fn set_units(&mut self, unit_of: UnitOf) {
        self.encoder.set_units(unit_of);
    }

    /// Whether native buckets appear on it.
    #[must_use]
    pub fn shows_native(&self) -> bool {
        self.encoder.shows_native()
    }

    /// Whether no family is left out.
    #[must_use]
    pub fn shows_all(&self) -> bool {
        self.only.is_empty()
    }

    /// Whether the client still listens.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Closes the page and sends what is left of it; `false` when the client did not take it all.
    #[must_use = "an unfinished page must not pass for a whole one"]
    pub fn finish(mut self) -> bool {
        if self.is_open {
            self.encoder.finish(&mut self.buffer);
            self.is_open = self.buffer.is_empty() || (self.sink)(&mut self.buffer);
        }
        self.is_open
    }

    fn send_if_full(&mut self) {
        if self.buffer.len() >= Self::PART_BYTES {
            self.is_open = (self.sink)(&mut self.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::aggregate::histogram::NativeValue;

    // The pages are what Go's `expfmt` wrote for the same families.
    const TEXT: &str = r#"# HELP a_total two\nlines \\ "quoted"
# TYPE a_total counter
a_total 1
a_total{k="q\"b\\n\n,=\"x",z="größe"} 1.2345675e+06
# HELP g 
# TYPE g gauge
g{x="y"} -Inf
g{x="z"} 0
# HELP h H.
# TYPE h histogram
h_bucket{zz="y",le="0.5"} 5
h_bucket{zz="y",le="1"} 8
h_bucket{zz="y",le="1e+06"} 10
h_bucket{zz="y",le="+Inf"} 11
h_sum{zz="y"} 1.999990975e+07
h_count{zz="y"} 11
h_bucket{zz="z",le="0.5"} 0
h_bucket{zz="z",le="1"} 0
h_bucket{zz="z",le="1e+06"} 0
h_bucket{zz="z",le="+Inf"} 0
h_sum{zz="z"} 0
h_count{zz="z"} 0
# HELP s S.
# TYPE s summary
s{x="y",quantile="0.5"} NaN
s{x="y",quantile="1"} 3
s_sum{x="y"} 2.5
s_count{x="y"} 2e+06
"#;

    const OPENMETRICS: &str = r#"# HELP a two\nlines \\ \"quoted\"
# TYPE a counter
a_total 1.0
a_created 1.70000000025e+09
a_total{k="q\"b\\n\n,=\"x",z="größe"} 1.2345675e+06
a_created{k="q\"b\\n\n,=\"x",z="größe"} 1.70000000025e+09
# HELP g 
# TYPE g gauge
g{x="y"} -Inf
g{x="z"} 0.0
# HELP h H.
# TYPE h histogram
h_bucket{zz="y",le="0.5"} 5
h_bucket{zz="y",le="1.0"} 8
h_bucket{zz="y",le="1e+06"} 10
h_bucket{zz="y",le="+Inf"} 11
h_sum{zz="y"} 1.999990975e+07
h_count{zz="y"} 11
h_created{zz="y"} 1.70000000025e+09
h_bucket{zz="z",le="0.5"} 0
h_bucket{zz="z",le="1.0"} 0
h_bucket{zz="z",le="1e+06"} 0
h_bucket{zz="z",le="+Inf"} 0
h_sum{zz="z"} 0.0
h_count{zz="z"} 0
h_created{zz="z"} 1.70000000025e+09
# HELP s S.
# TYPE s summary
s{x="y",quantile="0.5"} NaN
s{x="y",quantile="1.0"} 3.0
s_sum{x="y"} 2.5
s_count{x="y"} 2000000
s_created{x="y"} 1.70000000025e+09
# EOF
"#;

    const PROTOBUF: &str = "\
         740a07615f746f74616c121474776f0a6c696e6573205c202271756f74656422180022181a160900\
         0000000000f03f1a0b0880e2cfaa061080e59a7722370a0f0a016b120a7122625c6e0a2c3d22780a\
         0c0a017a12076772c3b6c39f651a16090000008087d632411a0b0880e2cfaa061080e59a77310a01\
         671200180122130a060a0178120179120909000000000000f0ff22130a060a017812017a12090900\
         00000000000000f2010a01681202482e1804228d010a070a027a7a1201793a8101080b110000005c\
         ca1273411a0b080511000000000000e03f1a0b080811000000000000f03f1a0b080a110000000080\
         842e41280631000000000000f03738014a04081a10024a04084a1001500250005000620408191001\
         620408181002620408061001620508fa021001680268046803680068007a0b0880e2cfaa061080e5\
         9a7722570a070a027a7a12017a3a4c08001100000000000000001a0b080011000000000000e03f1a\
         0b080011000000000000f03f1a0b0800110000000080842e41280631000000000000f03738007a0b\
         0880e2cfaa061080e59a77570a01731202532e1802224c0a060a017812017922420880897a110000\
         0000000004401a1209000000000000e03f11010000000000f87f1a1209000000000000f03f110000\
         000000000840220b0880e2cfaa061080e59a77";

    #[test]
    fn the_text_page_is_the_one_go_writes() {
        assert_eq!(String::from_utf8(render(Format::Text, |_| false)).unwrap(), TEXT);
    }

    #[test]
    fn the_openmetrics_page_is_the_one_go_writes() {
        let page = render(Format::OpenMetrics, |_| false);
        assert_eq!(String::from_utf8(page).unwrap(), OPENMETRICS);
    }

    #[test]
    fn the_protobuf_page_is_the_one_go_writes() {
        let page = render(Format::Protobuf, |_| false);
        let pairs = PROTOBUF.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        let expected: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        assert_eq!(page, expected);
    }

    #[test]
    fn another_reader_finds_the_same_numbers() {
        let lines = TEXT.lines().map(|line| Ok(line.to_owned()));
        let read = prometheus_parse::Scrape::parse(lines).unwrap();
        let find =
            |name: &str| read.samples.iter().filter(|s| s.metric == name).collect::<Vec<_>>();
        assert_eq!(find("a_total").len(), 2);
        assert_eq!(find("g").len(), 2);
        assert_eq!(find("h_count").len(), 2);
        let histograms = find("h");
        let series = histograms.iter().find(|sample| sample.labels.get("zz") == Some("y")).unwrap();
        let prometheus_parse::Value::Histogram(ref buckets) = series.value else { panic!() };
        let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!(counts, [5.0, 8.0, 10.0, 11.0]);
    }

    #[test]
    fn openmetrics_counters_end_in_total_unless_a_neighbour_is_called_so() {
        let none = |_: &str| false;
        check_counter("hits", none, "hits counter: hits_total hits_created");
        check_counter("hits_total", none, "hits counter: hits_total hits_created");
        check_counter("_total", none, "_total counter: _total_total _total_created");
        check_counter("hits", |name| name == "hits_total", "hits unknown: hits");
        check_counter("hits_total", |name| name == "hits", "hits_total unknown: hits_total");
        check_counter("hits", |name| name == "hits_created", "hits counter: hits_total");
    }

    #[test]
    fn only_protobuf_shows_native_buckets() {
        let shows = |format: Format| format.encoder().shows_native();
        assert!(shows(Format::Protobuf));
        assert!(!shows(Format::Text) && !shows(Format::OpenMetrics));
    }

    #[test]
    fn only_the_families_asked_for_are_shown() {
        let (mut written, mut sink) = (Vec::new(), Vec::new());
        let mut send = |part: &mut Vec<u8>| {
            sink.append(part);
            true
        };
        let mut page = Page::new(Format::Text.encoder(), &mut send)
            .only(vec!["g".to_owned(), "nobody".to_owned()]);
        walk(&mut page);
        assert!(page.finish());
        written.append(&mut sink);
        let expected = "# HELP g \n# TYPE g gauge\ng{x=\"y\"} -Inf\ng{x=\"z\"} 0\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_unit_is_told_where_the_name_ends_with_it() {
        for (name, kind, is_told) in [
            ("x_seconds_total", FamilyKind::Counter, true),
            ("x_seconds", FamilyKind::Gauge, true),
            ("x", FamilyKind::Gauge, false),
            ("seconds", FamilyKind::Gauge, false),
        ] {
            let mut encoder = Format::OpenMetrics.encoder();
            encoder.set_units(Arc::new(|_| Some("seconds".into())));
            let mut page = Vec::new();
            encoder.begin(&mut page, &Family { name, help: "", kind });
            let text = String::from_utf8(page).unwrap();
            assert_eq!(text.ends_with("\n# UNIT x_seconds seconds\n"), is_told, "{text}");
        }
    }

    #[test]
    fn the_page_is_sent_in_parts_and_ends_when_the_client_goes() {
        let mut parts = Vec::new();
        let mut send = |part: &mut Vec<u8>| {
            parts.push(std::mem::take(part).len());
            parts.len() < 3
        };
        let mut page = Page::new(Format::Text.encoder(), &mut send);
        let family = Family { name: "a", help: "", kind: FamilyKind::Gauge };
        assert!(page.begin(&family));
        let value = Value::Number(1.0);
        let series = Series { labels: br#"k="v""#, created_seconds: 0.0, value };
        let mut calls = 0;
        while page.series(&family, &series) {
            calls += 1;
        }
        assert!(!page.is_open() && !page.begin(&family) && !page.finish());
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|size| (Page::PART_BYTES..Page::PART_BYTES + 32).contains(size)));
        assert_eq!(
            calls + 1,
            (parts.iter().sum::<usize>() - "# HELP a \n# TYPE a gauge\n".len()) / 11
        );
    }

    #[track_caller]
    fn check_counter(name: &str, has_family: fn(&str) -> bool, expected: &str) {
        let mut encoder = Format::OpenMetrics.encoder();
        encoder.set_families(Arc::new(has_family));
        let mut page = Vec::new();
        let family = Family { name, help: "", kind: FamilyKind::Counter };
        let value = Value::Number(1.0);
        encoder.begin(&mut page, &family);
        encoder.series(&mut page, &family, &Series { labels: b"", created_seconds: 1.0, value });
        let text = String::from_utf8(page).unwrap();
        let mut found = text.split("# TYPE ").nth(1).unwrap().lines();
        let mut shown = format!("{}:", found.next().unwrap());
        for line in found {
            shown = format!("{shown} {}", line.split(' ').next().unwrap());
        }
        assert_eq!(shown, expected);
    }

    fn render(format: Format, has_family: fn(&str) -> bool) -> Vec<u8> {
        let mut written = Vec::new();
        let mut sink = |part: &mut Vec<u8>| {
            written.append(part);
            true
        };
        let mut page = Page::new(format.encoder(), &mut sink);
        page.set_families(Arc::new(has_family));
        walk(&mut page);
        assert!(page.finish());
        written
    }

    fn walk(page: &mut Page<'_>) {
        let labels = r#"k="q\"b\\n\n,=\"x",z="größe""#;
        let help = "two\nlines \\ \"quoted\"";
        let numbers = [("", Value::Number(1.0)), (labels, Value::Number(1_234_567.5))];
        show(page, ("a_total", help, FamilyKind::Counter), &numbers);
        let numbers =
            [(r#"x="y""#, Value::Number(f64::NEG_INFINITY)), (r#"x="z""#, Value::Number(0.0))];
        show(page, ("g", "", FamilyKind::Gauge), &numbers);
        let (full, empty) = (histogram(), empty_histogram());
        let bounds = &[0.5, 1.0, 1e6];
        let histograms = [
            (r#"zz="y""#, Value::Histogram { bounds, value: &full }),
            (r#"zz="z""#, Value::Histogram { bounds, value: &empty }),
        ];
        show(page, ("h", "H.", FamilyKind::Histogram), &histograms);
        let quantiles = &[(0.5, f64::from_bits(0x7ff8_0000_0000_0001)), (1.0, 3.0)];
        let summary = Value::Summary { quantiles, sum: 2.5, count: 2_000_000 };
        show(page, ("s", "S.", FamilyKind::Summary), &[(r#"x="y""#, summary)]);
    }

    fn show(page: &mut Page<'_>, head: (&str, &str, FamilyKind), series: &[(&str, Value<'_>)]) {
        let (name, help, kind) = head;
        let family = Family { name, help, kind };
        if page.begin(&family) {
            for &(labels, value) in series {
                let created_seconds = 1_700_000_000.25;
                let labels = labels.as_bytes();
                page.series(&family, &Series { labels, created_seconds, value });
            }
            page.end(&family);
        }
    }

    /// After 0, 0.3, 1 (three times), 1.05, 1.5, 2e7, -3, -3.1 and -90.
    fn histogram() -> HistogramValue {
        HistogramValue {
            counts: vec![5, 3, 2, 1],
            sum: 19_999_909.75,
            native: Some(NativeValue {
                schema: 3,
                zero_threshold: 2f64.powi(-128),
                zero_count: 1,
                positive: vec![(-13, 1), (0, 3), (1, 1), (5, 1), (195, 1)],
                negative: vec![(13, 1), (14, 1), (52, 1)],
            }),
        }
    }

    fn empty_histogram() -> HistogramValue {
        let native =
            NativeValue { schema: 3, zero_threshold: 2f64.powi(-128), ..NativeValue::default() };
        HistogramValue { counts: vec![0; 4], sum: 0.0, native: Some(native) }
    }
}
