//! What Prometheus answers to a query, whoever passed it on.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// From when to when a query is evaluated, and how often; Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The first evaluation.
    pub start: f64,
    /// No evaluation is later than this.
    pub end: f64,
    /// Seconds from one evaluation to the next.
    pub step: f64,
}

/// What a query found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answer {
    /// In Prometheus' order.
    pub series: Vec<Series>,
    /// What Prometheus, or the reading of its answer, has to remark.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One label set and its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// `__name__` among them where the expression kept it.
    pub labels: BTreeMap<String, String>,
    /// Rising in time; where nothing was found there is no point.
    pub points: Vec<Point>,
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Unix seconds.
    pub time: f64,
    /// May be NaN or infinite.
    pub value: f64,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Prometheus could not evaluate the query.
    #[error("Prometheus refuses the query: {message} ({kind})")]
    Refused {
        /// Such as `bad_data` or `execution`.
        kind: String,
        /// Its own words.
        message: String,
    },
    /// Something else than Prometheus answered.
    #[error("not an answer of Prometheus' query API: {0}")]
    Malformed(String),
    /// The expression is a string.
    #[error("the expression is a string, which has no values")]
    NoNumbers,
}

impl Answer {
    /// Reads the body of an answer to `query` or `query_range`, a refusal among them.
    ///
    /// # Errors
    /// [`AnswerError::Refused`] with what Prometheus says of the expression; the other variants
    /// when the body is not what a query is answered with.
    pub fn read(body: &[u8]) -> Result<Self, AnswerError> {
        let body: Body = serde_json::from_slice(body)
            .map_err(|error| AnswerError::Malformed(error.to_string()))?;
        match body {
            Body::Success { data, mut warnings, infos } => {
                warnings.extend(infos);
                let series = match data {
                    Data::Matrix(found) | Data::Vector(found) => found,
                    Data::Scalar(point) => vec![Found { value: Some(point), ..Found::default() }],
                    Data::String(_) => return Err(AnswerError::NoNumbers),
                };
                let histograms = series.iter().filter(|found| found.has_histograms()).count();
                if histograms > 0 {
                    warnings.push(format!(
                        "{histograms} series are native histograms, which have no one value; ask \
                         for histogram_quantile, histogram_avg or histogram_count of them"
                    ));
                }
                Ok(Self {
                    series: series.into_iter().filter_map(Found::series).collect(),
                    warnings,
                })
            }
            Body::Error { kind, message } => Err(AnswerError::Refused { kind, message }),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Body {
    Success {
        data: Data,
        #[serde(default)]
        warnings: Vec<String>,
        #[serde(default)]
        infos: Vec<String>,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(rename = "error", default)]
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Matrix(Vec<Found>),
    Vector(Vec<Found>),
    Scalar(RawPoint),
    String(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
struct Found {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<RawPoint>,
    #[serde(default)]
    values: Vec<RawPoint>,
    histogram: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

impl Found {
    fn has_histograms(&self) -> bool {
        self.histogram.is_some() || !self.histograms.is_empty()
    }

    /// None where there is nothing but histograms.
    fn series(self) -> Option<Series> {
        let points: Vec<Point> = self.value.into_iter().chain(self.values).map(|p| p.0).collect();
        (!points.is_empty()).then_some(Series { labels: self.metric, points })
    }
}

/// A point as Prometheus writes it: `[1435781451.781, "1"]`.
struct RawPoint(Point);

impl<'de> Deserialize<'de> for RawPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (time, value) = <(f64, String)>::deserialize(deserializer)?;
        // Rust reads `NaN`, `+Inf` and `-Inf` as Prometheus writes them.
        let value = value.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(Point { time, value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_gives_series_with_points() {
        let series = read(
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"up","job":"a"},"values":[[10,"1"],[25.5,"NaN"],[40,"+Inf"]]},
                {"metric":{},"values":[[10,"-2.5e-3"]]}]}}"#,
        )
        .unwrap()
        .series;
        let values: Vec<f64> = series[0].points.iter().map(|point| point.value).collect();
        assert_eq!(series[0].labels["job"], "a");
        assert!(
            (values[0] - 1.0).abs() < f64::EPSILON
                && values[1].is_nan()
                && values[2] == f64::INFINITY
        );
        assert_eq!(series[1].points, [Point { time: 10.0, value: -0.0025 }]);
    }

    #[test]
    fn a_vector_and_a_scalar_give_one_point_each() {
        let point = Point { time: 1.5, value: 3.0 };
        for data in [
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1.5,"3"]}]}"#,
            r#"{"resultType":"scalar","result":[1.5,"3"]}"#,
        ] {
            let answer = read(&format!(r#"{{"status":"success","data":{data}}}"#)).unwrap();
            assert_eq!(answer.series, [Series { points: vec![point], ..Series::default() }]);
        }
    }

    #[test]
    fn native_histograms_are_left_out_and_said() {
        let answer = read(
            r#"{"status":"success","infos":["PromQL info"],"data":{"resultType":"vector","result":[
                {"metric":{},"histogram":[1,{"count":"1","sum":"2","buckets":[]}]}]}}"#,
        )
        .unwrap();
        assert_eq!((answer.series.len(), answer.warnings.len()), (0, 2));
        assert!(answer.warnings[1].starts_with("1 series are native histograms"));
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let kind = "bad_data".to_owned();
        let message = "parse error".to_owned();
        assert_eq!(
            read(r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#),
            Err(AnswerError::Refused { kind, message })
        );
        assert_eq!(
            read(r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#),
            Err(AnswerError::NoNumbers)
        );
        assert!(matches!(read("<html>"), Err(AnswerError::Malformed(_))));
    }

    fn read(body: &str) -> Result<Answer, AnswerError> {
        Answer::read(body.as_bytes())
    }
}
