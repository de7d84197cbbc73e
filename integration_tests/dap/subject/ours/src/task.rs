//! A task, and what this aggregator remembers of it. In memory: it is gone with the process.

use crate::{
    batches::{Bucket, Filling},
    preparing::{self, Prepared, VerifyKey},
    problem::{Problem, BATCH_OVERLAP, TOO_MANY_QUERIES},
};
use interop::{AddTask, Bell, Role, Vdaf};
use janus_core::{
    hpke::{
        self, associated_data_for_report_share, generate_hpke_config_and_private_key, HpkeApplicationInfo,
        HpkePrivateKey,
    },
    report_id::ReportIdChecksumExt,
};
use janus_messages::{
    AggregationJobId, HpkeAeadId, HpkeCiphertext, HpkeConfig, HpkeConfigId, HpkeKdfId, HpkeKemId, Report, ReportId,
    ReportIdChecksum, ReportMetadata, ReportShareError, Role as Party, TaskId,
};
use prio::codec::Decode;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use url::Url;

const LEADERS_KEY: u8 = 1;
const HELPERS_KEY: u8 = 2;

#[derive(Default)]
pub struct Tokens {
    pub leader: Option<String>,
    pub collector: Option<String>,
}

pub struct Task {
    pub id: TaskId,
    pub role: Role,
    pub leader: Url,
    pub helper: Url,
    pub vdaf: Vdaf,
    pub verify_key: VerifyKey,
    pub precision: u64,
    /// Seconds since the epoch.
    pub end: u64,
    pub least: u64,
    /// Only tasks of fixed size have it.
    pub most: Option<u64>,
    pub queries: u64,
    pub collector: HpkeConfig,
    pub config: HpkeConfig,
    key: HpkePrivateKey,
    pub tokens: Mutex<Tokens>,
    pub memory: Mutex<Memory>,
    pub bell: Bell,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    /// Errors: what of the task is not supported, or wrong.
    pub fn new(told: AddTask) -> Result<Self, String> {
        if let Some(problem) = told.problem() {
            return Err(problem);
        }
        let verify_key: VerifyKey = told.verify_key.0.try_into().map_err(|_| "verify_key has 16 bytes")?;
        let number = if told.role == Role::Leader { LEADERS_KEY } else { HELPERS_KEY };
        let (config, key) = generate_hpke_config_and_private_key(
            HpkeConfigId::from(number),
            HpkeKemId::X25519HkdfSha256,
            HpkeKdfId::HkdfSha256,
            HpkeAeadId::Aes128Gcm,
        );
        Ok(Self {
            id: TaskId::from(told.task_id.0),
            role: told.role,
            leader: as_folder(told.leader),
            helper: as_folder(told.helper),
            vdaf: Vdaf::read(&told.vdaf)?,
            verify_key: if interop::mutant("ignores_the_verify_key") { [0; 16] } else { verify_key },
            precision: told.time_precision,
            end: told.task_expiration.unwrap_or(u64::MAX),
            least: if interop::mutant("gives_away_too_early") { 1 } else { told.min_batch_size },
            most: told.max_batch_size,
            queries: told.max_batch_query_count,
            collector: HpkeConfig::get_decoded(&told.collector_hpke_config.0)
                .map_err(|error| format!("collector_hpke_config: {error}"))?,
            config,
            key,
            tokens: Mutex::new(Tokens {
                leader: told.leader_authentication_token,
                collector: told.collector_authentication_token,
            }),
            memory: Mutex::default(),
            bell: Bell::default(),
        })
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    /// The number of this aggregator in the VDAF.
    pub fn number(&self) -> usize {
        usize::from(self.role == Role::Helper)
    }

    fn party(&self) -> Party {
        if self.role == Role::Leader {
            Party::Leader
        } else {
            Party::Helper
        }
    }

    /// Whether a token that came with a request is the one of that role.
    pub fn knows(&self, role: Role, token: Option<&str>) -> bool {
        let tokens = lock(&self.tokens);
        let known = if role == Role::Leader { &tokens.leader } else { &tokens.collector };
        interop::mutant("accepts_a_wrong_token") || (known.is_some() && known.as_deref() == token)
    }

    /// Open this aggregator's share of a report and begin to prepare it.
    pub fn prepare(
        &self,
        metadata: &ReportMetadata,
        public_share: &[u8],
        share: &HpkeCiphertext,
    ) -> Result<Prepared, ReportShareError> {
        if metadata.time().as_seconds_since_epoch() >= self.end {
            return Err(ReportShareError::TaskExpired);
        }
        if share.config_id() != self.config.id() {
            return Err(ReportShareError::HpkeUnknownConfigId);
        }
        let input = hpke::open(
            &self.config,
            &self.key,
            &HpkeApplicationInfo::new(&hpke::Label::InputShare, &Party::Client, &self.party()),
            share,
            // The length of the public share stands before it: draft 02 leaves that open, and Daphne has it so.
            &associated_data_for_report_share(&self.id, metadata, public_share, true),
        );
        let input = input.map_err(|_| ReportShareError::HpkeDecryptError)?;
        preparing::begin(&self.vdaf, self.number(), &self.verify_key, metadata.id().as_ref(), &input)
            .map_err(|_| ReportShareError::VdafPrepError)
    }
}

fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// How far a collection is, at the leader.
pub enum Collection {
    Waiting,
    /// The message for the collector.
    Done(Vec<u8>),
    /// The problem document for the collector.
    Failed(Vec<u8>),
}

/// One that was asked for, by the encoded request.
pub struct Asked {
    pub number: [u8; 32],
    pub request: Vec<u8>,
    pub span: Vec<Bucket>,
    pub state: Collection,
}

/// What was aggregated for a bucket.
#[derive(Default)]
pub struct Aggregate {
    outputs: Vec<Vec<u8>>,
    checksum: ReportIdChecksum,
}

/// An aggregation that the helper has answered once.
pub struct Job {
    pub reports: Vec<(Bucket, ReportId, Prepared)>,
}

#[derive(Default)]
pub struct Memory {
    /// The leader: reports that were uploaded and wait for their aggregation.
    pub waiting: BTreeMap<Bucket, Vec<Report>>,
    /// The leader: all that were ever uploaded.
    pub uploaded: HashSet<[u8; 16]>,
    pub filling: Filling,
    pub asked: Vec<Asked>,
    /// The helper: aggregations that wait for their second step.
    pub jobs: HashMap<AggregationJobId, Job>,
    /// Reports whose outputs are in an aggregate.
    aggregated: HashSet<[u8; 16]>,
    aggregates: BTreeMap<Bucket, Aggregate>,
    /// What was given away, and how often.
    given: Vec<(Vec<Bucket>, u64)>,
}

/// The aggregate of some buckets.
pub struct Total {
    pub share: Vec<u8>,
    pub count: u64,
    pub checksum: ReportIdChecksum,
}

impl Memory {
    /// Return why a report cannot be aggregated any more.
    pub fn refusal(&self, bucket: &Bucket, id: &ReportId) -> Option<ReportShareError> {
        if self.given.iter().any(|(span, _)| span.contains(bucket)) {
            return Some(ReportShareError::BatchCollected);
        }
        let replayed = self.aggregated.contains(id.as_ref()) && !interop::mutant("counts_a_replay");
        replayed.then_some(ReportShareError::ReportReplayed)
    }

    pub fn add(&mut self, bucket: Bucket, id: &ReportId, output: Vec<u8>) {
        self.aggregated.insert(*id.as_ref());
        let aggregate = self.aggregates.entry(bucket).or_default();
        aggregate.outputs.push(output);
        aggregate.checksum = aggregate.checksum.updated_with(id);
    }

    pub fn has(&self, bucket: &Bucket) -> bool {
        self.aggregates.contains_key(bucket)
    }

    /// Add up what was aggregated for some buckets.
    pub fn total(&self, vdaf: &Vdaf, span: &[Bucket]) -> Result<Total, preparing::Invalid> {
        let aggregates: Vec<&Aggregate> = span.iter().filter_map(|bucket| self.aggregates.get(bucket)).collect();
        let outputs = aggregates.iter().flat_map(|aggregate| aggregate.outputs.iter().map(Vec::as_slice));
        let none = ReportIdChecksum::default();
        Ok(Total {
            share: preparing::sum(vdaf, outputs)?,
            count: aggregates.iter().map(|aggregate| aggregate.outputs.len() as u64).sum(),
            checksum: aggregates.iter().fold(none, |sum, aggregate| sum.combined_with(&aggregate.checksum)),
        })
    }

    /// Say why some buckets cannot be asked for, beside what was given away and is being asked for.
    pub fn conflict(&self, span: &[Bucket], queries: u64) -> Option<Problem> {
        let asked = self.asked.iter().filter(|asked| matches!(asked.state, Collection::Waiting));
        let spans = self.given.iter().map(|(given, times)| (given, *times)).chain(asked.map(|asked| (&asked.span, 1)));
        let mut same = 0;
        for (other, times) in spans {
            if other == span {
                same += times;
            } else if other.iter().any(|bucket| span.contains(bucket)) {
                return Some(BATCH_OVERLAP);
            }
        }
        (same >= queries).then_some(TOO_MANY_QUERIES)
    }

    /// Note that some buckets were given away once more.
    pub fn give(&mut self, span: &[Bucket]) {
        if interop::mutant("collects_again") {
            return;
        }
        match self.given.iter_mut().find(|(given, _)| given == span) {
            Some((_, times)) => *times += 1,
            None => self.given.push((span.to_vec(), 1)),
        }
    }
}
