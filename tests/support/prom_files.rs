//! Files as `prometheus_client` writes them in its multiprocess mode.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The file of one worker for one kind of value.
#[derive(Debug)]
pub(crate) struct PromFile(Vec<u8>);

impl PromFile {
    /// A file without entries.
    pub(crate) fn new() -> Self {
        Self(vec![8, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Adds the value of a sample.
    #[must_use]
    pub(crate) fn with(
        self,
        (family, sample): (&str, &str),
        labels: &[(&str, &str)],
        value: f64,
    ) -> Self {
        let labels: Map<String, Value> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let key = json!([family, sample, labels, format!("Help of {family}.")]).to_string();
        self.with_entry(&key, value)
    }

    /// Adds a value under any key.
    #[must_use]
    pub(crate) fn with_entry(mut self, key: &str, value: f64) -> Self {
        let length = u32::try_from(key.len()).unwrap();
        self.0.extend(length.to_le_bytes());
        self.0.extend(key.as_bytes());
        // At least one blank, and what follows is 8-aligned.
        let blanks = 8 - (key.len() + 4) % 8;
        self.0.extend(std::iter::repeat_n(b' ', blanks));
        self.0.extend(value.to_le_bytes());
        self.0.extend(0_f64.to_le_bytes());
        let used = u32::try_from(self.0.len()).unwrap();
        self.0[..4].copy_from_slice(&used.to_le_bytes());
        self
    }

    /// Writes it as the file of the process with that number; `kind` is as in its name, such as
    /// `counter` or `gauge_all`.
    pub(crate) fn write(&self, directory: &Path, kind: &str, pid: u32) {
        // A file of theirs grows by doubling, so there is always unused room at its end.
        let mut bytes = self.0.clone();
        bytes.resize(self.0.len().next_power_of_two().max(4096), 0);
        fs::write(directory.join(format!("{kind}_{pid}.db")), bytes).unwrap();
    }
}
