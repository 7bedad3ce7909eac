//! The flags about limits and tags: what is taken of what clients send.

use std::time::Duration;

use clap::Args;

use super::units::{parse_count, parse_time};
use super::{Cli, ConfigError};
use crate::map::Intake;
use crate::map::escape::is_free_label_name;
use crate::map::limits::{OnLimit, RuleLimits};
use crate::map::tags::TagRules;
use crate::net::StreamLimits;

/// Flags about limits.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitFlags {
    /// Series in all; 0: any number
    #[arg(long = "limits.series", value_name = "N", default_value = "0", value_parser = parse_count)]
    pub series: usize,
    /// Series of each family; 0: any number
    #[arg(long = "limits.series-per-family", value_name = "N", default_value = "0", value_parser = parse_count)]
    pub series_per_family: usize,
    /// Values of each label of a family; 0: any number
    #[arg(long = "limits.values-per-label", value_name = "N", default_value = "0", value_parser = parse_count)]
    pub values_per_label: usize,
    /// What becomes of the rest [overflow, drop]
    #[arg(
        long = "limits.on-limit",
        value_name = "WHAT",
        value_enum,
        default_value = "overflow",
        hide_possible_values = true
    )]
    pub on_limit: OnLimit,
    /// Longest name of a metric or label; 0: any length
    #[arg(long = "limits.name-length", value_name = "BYTES", default_value = "0", value_parser = parse_count)]
    pub name_bytes: usize,
    /// Longest value of a label; 0: any length
    #[arg(long = "limits.label-length", value_name = "BYTES", default_value = "0", value_parser = parse_count)]
    pub value_bytes: usize,
    /// Connections in all; 0: any number [default: by open files]
    #[arg(long = "limits.connections", value_name = "N", value_parser = parse_count)]
    pub connections: Option<usize>,
    /// Close connections silent for so long; 0: never
    #[arg(long = "limits.idle-time", value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub idle: Duration,
}

/// Flags about tags. A mapping file may say otherwise.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tags")]
pub struct TagFlags {
    /// Leave these tags out; `*` stands for any text
    #[arg(long = "tags.drop", value_name = "TAG,…", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// Take no others than these
    #[arg(long = "tags.keep", value_name = "TAG,…", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// Call tags otherwise
    #[arg(long = "tags.rename", value_name = "OLD=NEW,…", value_delimiter = ',', value_parser = pair)]
    pub rename: Vec<(String, String)>,
    /// Add a label to series that have none of that name
    #[arg(long = "tags.add", value_name = "NAME=VALUE,…", value_delimiter = ',', value_parser = pair)]
    pub add: Vec<(String, String)>,
}

/// What limits the series, and what connections.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Series in all.
    pub series: Option<usize>,
    /// What holds for rules that say nothing else.
    pub intake: Intake,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("there is no `=` in it")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl LimitFlags {
    /// What these flags say of connections.
    pub(super) fn streams(self) -> StreamLimits {
        let idle = Some(self.idle).filter(|time| !time.is_zero());
        StreamLimits { connections: self.connections, idle }
    }
}

impl Limits {
    /// What the flags say of samples and their tags.
    pub(super) fn of(cli: &Cli) -> Result<Self, ConfigError> {
        let (limits, tags) = (&cli.limits, &cli.tags);
        let renames = tags.rename.iter().map(|(_, new)| ("--tags.rename", new));
        let added = tags.add.iter().map(|(name, _)| ("--tags.add", name));
        if let Some((flag, name)) = renames.chain(added).find(|(_, name)| !is_free_label_name(name))
        {
            return Err(ConfigError::LabelName { flag, name: name.clone() });
        }
        let this = Self {
            series: Some(limits.series).filter(|series| *series > 0),
            intake: Intake {
                tags: TagRules {
                    drop: given(&tags.drop),
                    keep: given(&tags.keep),
                    rename: given(&tags.rename),
                    add: given(&tags.add),
                },
                limits: RuleLimits {
                    series: at_least_one(limits.series_per_family),
                    values: at_least_one(limits.values_per_label),
                    values_of: Vec::new(),
                    on_limit: Some(limits.on_limit).filter(|on_limit| *on_limit == OnLimit::Drop),
                    name_bytes: limits.name_bytes,
                    value_bytes: limits.value_bytes,
                },
            },
        };
        // The reference's page has no room to count what is limited.
        if cli.compat.is_reference() && (this.series.is_some() || this.intake != Intake::default())
        {
            return Err(ConfigError::LimitsOfReference);
        }
        Ok(this)
    }
}

fn at_least_one(limit: usize) -> Option<u32> {
    (limit > 0).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
}

fn given<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
