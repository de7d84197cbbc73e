//! What an aggregator remembers of one task. In memory: it is gone with the process.

use daphne::{
    messages::{
        CollectReq, CollectResp, Id, PartialBatchSelector, Report, ReportId, ReportMetadata, TransitionFailure,
    },
    DapAggregateShare, DapBatchBucket, DapHelperState,
};
use std::collections::{HashMap, HashSet, VecDeque};

/// What reports are collected by: a batch of fixed size, or all of one stretch of time.
#[derive(Clone, Eq, Hash, PartialEq, Debug)]
pub enum Bucket {
    Batch(Id),
    Window(u64),
}

impl From<&DapBatchBucket<'_>> for Bucket {
    fn from(bucket: &DapBatchBucket<'_>) -> Self {
        match bucket {
            DapBatchBucket::FixedSize { batch_id } => Self::Batch((*batch_id).clone()),
            DapBatchBucket::TimeInterval { batch_window } => Self::Window(*batch_window),
        }
    }
}

impl From<&Bucket> for PartialBatchSelector {
    fn from(bucket: &Bucket) -> Self {
        match bucket {
            Bucket::Batch(id) => Self::FixedSize { batch_id: id.clone() },
            Bucket::Window(_) => Self::TimeInterval,
        }
    }
}

/// The sum of what was aggregated for a bucket.
#[derive(Default)]
pub struct Aggregate {
    pub share: DapAggregateShare,
    pub collected: bool,
}

pub enum Collection {
    Pending(CollectReq),
    Done(CollectResp),
    /// The body of the answer that says why.
    Failed(Vec<u8>),
}

#[derive(Default)]
pub struct Store {
    /// Reports that were uploaded and not yet aggregated.
    pub pending: HashMap<Bucket, VecDeque<Report>>,
    /// Reports that were uploaded.
    uploaded: HashSet<ReportId>,
    /// Reports that took part in an aggregation.
    processed: HashSet<ReportId>,
    pub aggregates: HashMap<Bucket, Aggregate>,
    /// Of aggregations that the leader has begun, by their IDs: the helper's own.
    pub helper_states: HashMap<Id, DapHelperState>,
    /// Batches of fixed size in the order in which they were begun, with how many reports each was given.
    pub batches: Vec<(Id, u64)>,
    pub collections: HashMap<Id, Collection>,
    /// IDs of collections in the order in which they were asked for.
    pub asked: Vec<Id>,
}

impl Store {
    /// Return why a report cannot be aggregated any more.
    pub fn too_late(&self, bucket: &Bucket, id: &ReportId) -> Option<TransitionFailure> {
        if self.aggregates.get(bucket).is_some_and(|aggregate| aggregate.collected) {
            return Some(TransitionFailure::BatchCollected);
        }
        if self.processed.contains(id) && !interop::mutant("counts_a_replay") {
            return Some(TransitionFailure::ReportReplayed);
        }
        None
    }

    /// Note that a report takes part in an aggregation.
    pub fn process(&mut self, metadata: &ReportMetadata) {
        self.processed.insert(metadata.id.clone());
    }

    /// Return the batch of fixed size that the next report belongs to: the first that has not got `enough`.
    pub fn batch_to_fill(&mut self, enough: u64, new: impl FnOnce() -> Id) -> Id {
        let collected: HashSet<Id> = self
            .aggregates
            .iter()
            .filter_map(|(bucket, aggregate)| match bucket {
                Bucket::Batch(id) if aggregate.collected => Some(id.clone()),
                _ => None,
            })
            .collect();
        for (id, count) in &mut self.batches {
            if *count < enough && !collected.contains(id) {
                *count += 1;
                return id.clone();
            }
        }
        let id = new();
        self.batches.push((id.clone(), 1));
        id
    }

    /// Keep an uploaded report. Errors: it was uploaded before, or comes too late.
    pub fn put(&mut self, bucket: Bucket, report: &Report) -> Result<(), TransitionFailure> {
        if let Some(failure) = self.too_late(&bucket, &report.metadata.id) {
            return Err(failure);
        }
        if interop::mutant("drops_a_report") && self.uploaded.len() == 4 {
            self.uploaded.insert(report.metadata.id.clone());
            return Ok(());
        }
        self.uploaded.insert(report.metadata.id.clone());
        self.pending.entry(bucket).or_default().push_back(report.clone());
        Ok(())
    }

    /// Return whether a report was uploaded already.
    pub fn is_known(&self, id: &ReportId) -> bool {
        self.uploaded.contains(id) && !interop::mutant("counts_a_replay")
    }

    /// Take up to `most` reports of each bucket.
    pub fn take(&mut self, most: usize) -> Vec<(Bucket, Vec<Report>)> {
        let filled = self.pending.iter_mut().filter(|(_, reports)| !reports.is_empty());
        filled.map(|(bucket, reports)| (bucket.clone(), reports.drain(..most.min(reports.len())).collect())).collect()
    }

    /// Have reports back that could not be aggregated, as if they had never been tried.
    pub fn put_back(&mut self, bucket: Bucket, reports: Vec<Report>) {
        let queue = self.pending.entry(bucket).or_default();
        for report in reports.into_iter().rev() {
            self.processed.remove(&report.metadata.id);
            queue.push_front(report);
        }
    }
}
