//! What of workers' files is kept across restarts, as messages of a saved state.
//!
//! A slot's value is what workers counted whose files are no more. Files that are there are saved with their
//! values: what is missing after a restart was counted here alone, what is still there is read again. So nothing
//! is lost and nothing counted twice, whatever happened in between.

use prost::Message;

use super::admission::Admission;
use super::directory::Directory;
use super::key::Part;
use super::kind::{Kind, Merged};
use super::layout::{Layout, Slot};
use super::member::{Identity, Member};
use super::slots::{Slots, Wanted};

/// One value of one series.
#[derive(Clone, PartialEq, Message)]
pub struct SavedSlot {
    /// By what files name it.
    #[prost(uint32, tag = "1")]
    pub slot: u32,
    /// [`Kind::number`].
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// The family's name.
    #[prost(string, tag = "3")]
    pub family: String,
    /// The family's help.
    #[prost(string, tag = "4")]
    pub help: String,
    /// The series' labels as the text format has them.
    #[prost(string, tag = "5")]
    pub labels: String,
    /// 0 the only value, 1 a bucket, 2 the sum, 3 the count.
    #[prost(uint32, tag = "6")]
    pub part: u32,
    /// A bucket's upper bound.
    #[prost(double, tag = "7")]
    pub bound: f64,
    /// When the series was first seen, on the process' clock.
    #[prost(uint64, tag = "8")]
    pub created_millis: u64,
    /// What workers counted whose files are no more, if any did.
    #[prost(double, optional, tag = "9")]
    pub value: Option<f64>,
    /// When it was set, where that decides.
    #[prost(double, tag = "10")]
    pub time: f64,
    /// The directory in which it was seen first.
    #[prost(string, tag = "11")]
    pub directory: String,
}

/// One file and what it held.
#[derive(Clone, PartialEq, Message)]
pub struct SavedFile {
    /// Its directory.
    #[prost(string, tag = "1")]
    pub directory: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// [`Identity::inode`].
    #[prost(fixed64, tag = "3")]
    pub inode: u64,
    /// [`Identity::born_nanos`].
    #[prost(sfixed64, tag = "4")]
    pub born_nanos: i64,
    /// Where its values stand.
    #[prost(uint32, repeated, tag = "5")]
    pub slots: Vec<u32>,
    /// Its values.
    #[prost(double, repeated, tag = "6")]
    pub values: Vec<f64>,
    /// When they were set, where that decides.
    #[prost(double, repeated, tag = "7")]
    pub times: Vec<f64>,
}

impl SavedSlot {
    /// All slots, in the order of the layout.
    pub fn all<'a>(
        layout: &'a Layout,
        slots: &'a Slots,
        directories: &'a [Directory],
    ) -> impl Iterator<Item = Self> + 'a {
        let families = layout.families.iter();
        let series = families.flat_map(|family| family.series.iter().map(move |one| (family, one)));
        series.flat_map(move |(family, series)| {
            series.parts.draft().into_iter().filter_map(move |(part, slot)| {
                let kind = slots.kind(slot)?;
                let buried = slots.buried(slot);
                let directory = directories.get(usize::from(kind.directory))?;
                let (part, bound) = match part {
                    Part::Value => (0, 0.0),
                    Part::Bucket(bound) => (1, bound),
                    Part::Sum => (2, 0.0),
                    Part::Count => (3, 0.0),
                };
                Some(Self {
                    slot,
                    kind: kind.kind.number(),
                    family: family.name.to_string(),
                    help: family.help.to_string(),
                    labels: series.labels.to_string(),
                    part,
                    bound,
                    created_millis: series.created_millis,
                    value: buried.get(),
                    time: buried.get().map_or(0.0, |_| buried.time()),
                    directory: directory.key(),
                })
            })
        })
    }

    /// Makes the slot again; none if this version does not know what it is, or a limit that is lower than it
    /// was keeps it out.
    pub fn restore(
        &self,
        directory: u16,
        slots: &mut Slots,
        admission: &Admission,
    ) -> Option<Slot> {
        let part = match self.part {
            0 => Part::Value,
            1 => Part::Bucket(self.bound),
            2 => Part::Sum,
            3 => Part::Count,
            _ => return None,
        };
        let wanted = Wanted {
            kind: Kind::of_number(self.kind)?,
            part,
            directory,
            family: &self.family,
            help: &self.help,
            labels: &self.labels,
            created_millis: self.created_millis,
        };
        let slot =
            slots.slot(&wanted, || admission.admit(&self.family, &self.labels).is_ok()).ok()?;
        if let Some(value) = self.value {
            slots.restore(slot, Merged::saved(value, self.time));
        }
        Some(slot)
    }
}

impl SavedFile {
    /// A file as it is.
    #[must_use]
    pub fn of(directory: &Directory, member: &Member) -> Self {
        let Identity { inode, born_nanos } = member.identity;
        let mut saved = Self {
            directory: directory.key(),
            name: member.name.to_string(),
            inode,
            born_nanos,
            ..Self::default()
        };
        for (slot, value, time) in member.values() {
            saved.slots.push(slot);
            saved.values.push(value);
            if time != 0.0 || !saved.times.is_empty() {
                saved.times.resize(saved.values.len() - 1, 0.0);
                saved.times.push(time);
            }
        }
        saved
    }

    /// Which file it was.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { inode: self.inode, born_nanos: self.born_nanos }
    }

    /// Its values, by the slots that are theirs in this process.
    pub fn values(
        &self,
        slot_of: impl Fn(u32) -> Option<Slot>,
    ) -> impl Iterator<Item = (Slot, f64, f64)> {
        let times = self.times.iter().copied().chain(std::iter::repeat(0.0));
        let values = self.slots.iter().zip(&self.values).zip(times);
        values.filter_map(move |((slot, value), time)| Some((slot_of(*slot)?, *value, time)))
    }
}
