//! What reports are collected by, for both types of query.

use crate::task::Task;
use janus_messages::{
    query_type::{FixedSize, QueryType, TimeInterval},
    BatchId, Interval, PartialBatchSelector,
};
use rand::random;
use std::collections::BTreeMap;

/// The smallest set of reports that can be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// All of a stretch of time as long as the task's precision, which begins then.
    Window(u64),
    Batch([u8; 32]),
}

/// A type of query, as the messages of this crate's tasks need it.
pub trait Kind: QueryType {
    /// The bucket of a report that was made at that time, in an aggregation of that selector.
    fn bucket(selector: &PartialBatchSelector<Self>, task: &Task, time: u64) -> Bucket;

    /// The selector of an aggregation that has reports of that bucket.
    fn selector(bucket: &Bucket) -> PartialBatchSelector<Self>;

    /// The buckets that are asked for; none if the query is not one of the task.
    fn span(asked: &Self::BatchIdentifier, task: &Task) -> Option<Vec<Bucket>>;

    fn selector_of(asked: &Self::BatchIdentifier) -> PartialBatchSelector<Self> {
        PartialBatchSelector::new(Self::partial_batch_identifier(asked).clone())
    }
}

impl Kind for TimeInterval {
    fn bucket(_: &PartialBatchSelector<Self>, task: &Task, time: u64) -> Bucket {
        Bucket::Window(time - time % task.precision)
    }

    fn selector(_: &Bucket) -> PartialBatchSelector<Self> {
        PartialBatchSelector::new_time_interval()
    }

    fn span(asked: &Interval, task: &Task) -> Option<Vec<Bucket>> {
        let (start, length) = (asked.start().as_seconds_since_epoch(), asked.duration().as_seconds());
        if length == 0
            || start % task.precision != 0
            || length % task.precision != 0
            || length / task.precision > 10_000
        {
            return None;
        }
        Some((0..length / task.precision).map(|number| Bucket::Window(start + number * task.precision)).collect())
    }
}

impl Kind for FixedSize {
    fn bucket(selector: &PartialBatchSelector<Self>, _: &Task, _: u64) -> Bucket {
        Bucket::Batch(*selector.batch_id().as_ref())
    }

    fn selector(bucket: &Bucket) -> PartialBatchSelector<Self> {
        let id = match bucket {
            Bucket::Batch(id) => *id,
            Bucket::Window(_) => [0; 32],
        };
        PartialBatchSelector::new_fixed_size(BatchId::from(id))
    }

    fn span(asked: &BatchId, _: &Task) -> Option<Vec<Bucket>> {
        Some(vec![Bucket::Batch(*asked.as_ref())])
    }
}

/// The batches of a task of fixed size that the leader fills.
#[derive(Default)]
pub struct Filling {
    /// In the order in which they were begun.
    pub begun: Vec<[u8; 32]>,
    counts: BTreeMap<[u8; 32], u64>,
}

impl Filling {
    /// Return the batch that the next report belongs to: the last one until it has got `enough`, then a new one.
    pub fn next(&mut self, enough: u64) -> Bucket {
        let last = self.begun.last().copied().filter(|id| self.counts[id] < enough);
        let id = last.unwrap_or_else(|| {
            let id = random();
            self.begun.push(id);
            id
        });
        *self.counts.entry(id).or_insert(0) += 1;
        Bucket::Batch(id)
    }
}
