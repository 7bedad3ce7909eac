//! The mapping files that come with tallyd, by the names of the applications they are for.

/// Names and texts, sorted by name.
const PRESETS: [(&str, &str); 12] = [
    ("aiodogstatsd", include_str!("../../mapping/aiodogstatsd.yaml")),
    ("airflow", include_str!("../../mapping/airflow.yaml")),
    ("airflow-tags", include_str!("../../mapping/airflow-tags.yaml")),
    ("consul", include_str!("../../mapping/consul.yaml")),
    ("django-statsd", include_str!("../../mapping/django-statsd.yaml")),
    ("envoy", include_str!("../../mapping/envoy.yaml")),
    ("gunicorn", include_str!("../../mapping/gunicorn.yaml")),
    ("jupyterhub-chp", include_str!("../../mapping/jupyterhub-chp.yaml")),
    ("spark", include_str!("../../mapping/spark.yaml")),
    ("swift", include_str!("../../mapping/swift.yaml")),
    ("uwsgi", include_str!("../../mapping/uwsgi.yaml")),
    ("vault", include_str!("../../mapping/vault.yaml")),
];

/// The text of a preset, if there is one of that name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all presets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}
