//! The traits of Daphne over stores in memory.

use crate::store::{Bucket, Collection, Store};
use async_trait::async_trait;
use daphne::{
    auth::{BearerToken, BearerTokenProvider},
    constants::media_type_for,
    hpke::{HpkeDecrypter, HpkeReceiverConfig},
    messages::{
        BatchSelector, CollectReq, CollectResp, HpkeCiphertext, HpkeConfig, HpkeKemId, Id, PartialBatchSelector,
        Report, ReportId, ReportMetadata, Time, TransitionFailure,
    },
    roles::{DapAggregator, DapAuthorizedSender, DapHelper, DapLeader},
    DapAbort, DapAggregateShare, DapCollectJob, DapError, DapGlobalConfig, DapHelperState, DapOutputShare,
    DapQueryConfig, DapRequest, DapResponse, DapTaskConfig, DapVersion, Prio3Config, VdafConfig,
};
use interop::{AddTask, Bell, Role, Unsent, Vdaf};
use prio::codec::Decode;
use rand::Rng;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};
use url::Url;

const DAY: u64 = 86_400;
static LIMITS: DapGlobalConfig = DapGlobalConfig {
    report_storage_epoch_duration: 7 * DAY,
    max_batch_duration: 4 * DAY,
    min_batch_interval_start: 3 * DAY,
    max_batch_interval_end: 3 * DAY,
    supported_hpke_kems: vec![],
};
const LEADERS_KEY: u8 = 1;
const HELPERS_KEY: u8 = 2;

#[derive(Default)]
struct Tokens {
    leader: Option<BearerToken>,
    collector: Option<BearerToken>,
}

/// A task, and what this aggregator knows of it.
pub struct Task {
    config: DapTaskConfig,
    role: Role,
    key: HpkeReceiverConfig,
    tokens: Mutex<Tokens>,
    store: Mutex<Store>,
    /// Rings when the leader may have something to do.
    pub bell: Bell,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    /// Errors: what of the task is not supported, or wrong.
    pub fn new(told: AddTask) -> Result<Self, String> {
        if let Some(problem) = told.problem() {
            return Err(problem);
        }
        let vdaf = VdafConfig::Prio3(match Vdaf::read(&told.vdaf)? {
            Vdaf::Count => Prio3Config::Count,
            Vdaf::Sum { bits } => Prio3Config::Sum { bits },
            Vdaf::Histogram { buckets } => Prio3Config::Histogram { buckets },
        });
        let verify_key = if interop::mutant("ignores_the_verify_key") { vec![0; 16] } else { told.verify_key.0 };
        let (leader_url, helper_url) = (as_folder(told.leader), as_folder(told.helper));
        let config = DapTaskConfig {
            version: DapVersion::Draft02,
            leader_url,
            helper_url,
            time_precision: told.time_precision,
            expiration: told.task_expiration.unwrap_or(Time::MAX),
            min_batch_size: if interop::mutant("gives_away_too_early") { 1 } else { told.min_batch_size },
            query: match told.max_batch_size {
                Some(max_batch_size) => DapQueryConfig::FixedSize { max_batch_size },
                None => DapQueryConfig::TimeInterval,
            },
            vdaf_verify_key: vdaf
                .get_decoded_verify_key(&verify_key)
                .map_err(|error| format!("verify_key: {error}"))?,
            vdaf,
            collector_hpke_config: HpkeConfig::get_decoded(&told.collector_hpke_config.0)
                .map_err(|error| format!("collector_hpke_config: {error}"))?,
        };
        let number = if told.role == Role::Leader { LEADERS_KEY } else { HELPERS_KEY };
        Ok(Self {
            config,
            role: told.role,
            key: HpkeReceiverConfig::gen(number, HpkeKemId::X25519HkdfSha256),
            tokens: Mutex::new(Tokens {
                leader: told.leader_authentication_token.map(BearerToken::from),
                collector: told.collector_authentication_token.map(BearerToken::from),
            }),
            store: Mutex::default(),
            bell: Bell::default(),
        })
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Errors: this aggregator has no use for a token of that role.
    pub fn set_token(&self, role: Role, token: String) -> Result<(), String> {
        let mut tokens = lock(&self.tokens);
        match (role, self.role) {
            (Role::Leader, _) => tokens.leader = Some(token.into()),
            (Role::Collector, Role::Leader) => tokens.collector = Some(token.into()),
            _ => return Err("a token is the leader's, or for the leader the collector's".into()),
        }
        drop(tokens);
        self.bell.ring();
        Ok(())
    }

    pub fn is_collector(&self, token: Option<&str>) -> bool {
        let known = lock(&self.tokens).collector.clone();
        interop::mutant("accepts_a_wrong_token") || (known.is_some() && known == token.map(BearerToken::from))
    }

    pub fn batch_ids(&self) -> Vec<Id> {
        self.store().batches.iter().map(|(id, _)| id.clone()).collect()
    }

    pub fn failed_collection(&self, id: &Id) -> Option<Vec<u8>> {
        match self.store().collections.get(id) {
            Some(Collection::Failed(said)) => Some(said.clone()),
            _ => None,
        }
    }

    fn bucket_of(&self, report: &Report, store: &mut Store) -> Bucket {
        match self.config.query {
            DapQueryConfig::TimeInterval => {
                Bucket::Window(report.metadata.time - report.metadata.time % self.config.time_precision)
            }
            DapQueryConfig::FixedSize { .. } => {
                Bucket::Batch(store.batch_to_fill(self.config.min_batch_size, || Id(rand::thread_rng().gen())))
            }
        }
    }
}

/// Paths are appended to the URLs of aggregators.
fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// A task as Daphne wants to have it.
#[derive(Clone)]
pub struct Known(pub Arc<Task>);

impl AsRef<DapTaskConfig> for Known {
    fn as_ref(&self) -> &DapTaskConfig {
        &self.0.config
    }
}

#[derive(Default)]
pub struct Aggregator {
    tasks: RwLock<HashMap<Id, Arc<Task>>>,
}

impl Aggregator {
    /// Errors: the task is there already.
    pub fn add(&self, id: Id, task: Task) -> Result<(), String> {
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        if tasks.contains_key(&id) {
            return Err("the task is there already".into());
        }
        tasks.insert(id, Arc::new(task));
        Ok(())
    }

    pub fn task(&self, id: &Id) -> Option<Arc<Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn known(&self, id: &Id) -> Result<Arc<Task>, DapError> {
        self.task(id).ok_or(DapError::Abort(DapAbort::UnrecognizedTask))
    }

    /// The task whose store has the aggregates of a task.
    fn stored(&self, id: &Id) -> Result<Arc<Task>, DapError> {
        if interop::mutant("mixes_two_tasks") {
            let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(first) = tasks.iter().min_by_key(|(id, _)| id.0).map(|(_, task)| task) {
                return Ok(Arc::clone(first));
            }
        }
        self.known(id)
    }

    /// Tell the task of a request that it was answered.
    pub fn wake(&self, request: &DapRequest<BearerToken>) {
        if let Some(task) = request.task_id.as_ref().and_then(|id| self.task(id)) {
            task.bell.ring();
        }
    }
}

#[async_trait(?Send)]
impl<'a> BearerTokenProvider<'a> for Aggregator {
    type WrappedBearerToken = BearerToken;

    async fn get_leader_bearer_token_for(&'a self, task_id: &'a Id) -> Result<Option<BearerToken>, DapError> {
        Ok(self.task(task_id).and_then(|task| lock(&task.tokens).leader.clone()))
    }

    async fn get_collector_bearer_token_for(&'a self, task_id: &'a Id) -> Result<Option<BearerToken>, DapError> {
        Ok(self.task(task_id).and_then(|task| lock(&task.tokens).collector.clone()))
    }
}

#[async_trait(?Send)]
impl<'a> HpkeDecrypter<'a> for Aggregator {
    type WrappedHpkeConfig = HpkeConfig;

    async fn get_hpke_config_for(&'a self, task_id: Option<&Id>) -> Result<HpkeConfig, DapError> {
        let task_id = task_id.ok_or(DapError::Abort(DapAbort::MissingTaskId))?;
        Ok(self.known(task_id)?.key.config.clone())
    }

    async fn can_hpke_decrypt(&self, task_id: &Id, config_id: u8) -> Result<bool, DapError> {
        Ok(self.known(task_id)?.key.config.id == config_id)
    }

    async fn hpke_decrypt(
        &self,
        task_id: &Id,
        info: &[u8],
        aad: &[u8],
        ciphertext: &HpkeCiphertext,
    ) -> Result<Vec<u8>, DapError> {
        self.known(task_id)?.key.hpke_decrypt(task_id, info, aad, ciphertext).await
    }
}

#[async_trait(?Send)]
impl DapAuthorizedSender<BearerToken> for Aggregator {
    async fn authorize(
        &self,
        task_id: &Id,
        media_type: &'static str,
        _payload: &[u8],
    ) -> Result<BearerToken, DapError> {
        self.authorize_with_bearer_token(task_id, media_type).await
    }
}

#[async_trait(?Send)]
impl<'srv, 'req> DapAggregator<'srv, 'req, BearerToken> for Aggregator
where
    'srv: 'req,
{
    type WrappedDapTaskConfig = Known;

    async fn authorized(&self, request: &DapRequest<BearerToken>) -> Result<bool, DapError> {
        Ok(interop::mutant("accepts_a_wrong_token") || self.bearer_token_authorized(request).await?)
    }

    fn get_global_config(&self) -> &DapGlobalConfig {
        &LIMITS
    }

    async fn get_task_config_for(&'srv self, task_id: Cow<'req, Id>) -> Result<Option<Known>, DapError> {
        Ok(self.task(&task_id).map(Known))
    }

    fn get_current_time(&self) -> Time {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    async fn is_batch_overlapping(&self, task_id: &Id, batch_sel: &BatchSelector) -> Result<bool, DapError> {
        let task = self.known(task_id)?;
        let store = task.store();
        let span = task.config.batch_span_for_sel(batch_sel)?;
        Ok(span.iter().any(|bucket| store.aggregates.get(&bucket.into()).is_some_and(|known| known.collected)))
    }

    async fn batch_exists(&self, task_id: &Id, batch_id: &Id) -> Result<bool, DapError> {
        let task = self.known(task_id)?;
        let store = task.store();
        // The helper knows those only that were aggregated.
        Ok(store.aggregates.contains_key(&Bucket::Batch(batch_id.clone()))
            || store.batches.iter().any(|(id, _)| id == batch_id))
    }

    async fn put_out_shares(
        &self,
        task_id: &Id,
        part_batch_sel: &PartialBatchSelector,
        out_shares: Vec<DapOutputShare>,
    ) -> Result<(), DapError> {
        let (task, stored) = (self.known(task_id)?, self.stored(task_id)?);
        let mut store = stored.store();
        for (bucket, share) in task.config.batch_span_for_out_shares(part_batch_sel, out_shares)? {
            store.aggregates.entry((&bucket).into()).or_default().share.merge(share)?;
        }
        Ok(())
    }

    async fn get_agg_share(&self, task_id: &Id, batch_sel: &BatchSelector) -> Result<DapAggregateShare, DapError> {
        let (task, stored) = (self.known(task_id)?, self.stored(task_id)?);
        let store = stored.store();
        let mut share = DapAggregateShare::default();
        for bucket in task.config.batch_span_for_sel(batch_sel)? {
            if let Some(aggregate) = store.aggregates.get(&(&bucket).into()) {
                if aggregate.collected {
                    return Err(DapError::Abort(DapAbort::BatchOverlap));
                }
                share.merge(aggregate.share.clone())?;
            }
        }
        Ok(share)
    }

    async fn check_early_reject<'b>(
        &self,
        task_id: &Id,
        part_batch_sel: &'b PartialBatchSelector,
        report_meta: impl Iterator<Item = &'b ReportMetadata>,
    ) -> Result<HashMap<ReportId, TransitionFailure>, DapError> {
        let task = self.known(task_id)?;
        let mut store = task.store();
        let mut rejected = HashMap::new();
        for (bucket, reports) in task.config.batch_span_for_meta(part_batch_sel, report_meta)? {
            for metadata in reports {
                if let Some(failure) = store.too_late(&(&bucket).into(), &metadata.id) {
                    rejected.insert(metadata.id.clone(), failure);
                }
                store.process(metadata);
            }
        }
        Ok(rejected)
    }

    async fn mark_collected(&self, task_id: &Id, batch_sel: &BatchSelector) -> Result<(), DapError> {
        if interop::mutant("collects_again") {
            return Ok(());
        }
        let task = self.known(task_id)?;
        let mut store = task.store();
        for bucket in task.config.batch_span_for_sel(batch_sel)? {
            // One without reports was collected as well: what comes for it now is too late.
            store.aggregates.entry((&bucket).into()).or_default().collected = true;
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl<'srv, 'req> DapHelper<'srv, 'req, BearerToken> for Aggregator
where
    'srv: 'req,
{
    async fn put_helper_state(&self, task_id: &Id, job_id: &Id, state: &DapHelperState) -> Result<(), DapError> {
        self.known(task_id)?.store().helper_states.insert(job_id.clone(), state.clone());
        Ok(())
    }

    async fn get_helper_state(&self, task_id: &Id, job_id: &Id) -> Result<Option<DapHelperState>, DapError> {
        // A job of Prio3 has one step: what is asked for now is not asked for again.
        Ok(self.known(task_id)?.store().helper_states.remove(job_id))
    }
}

#[async_trait(?Send)]
impl<'srv, 'req> DapLeader<'srv, 'req, BearerToken> for Aggregator
where
    'srv: 'req,
{
    /// The task, and how many reports an aggregation has at most.
    type ReportSelector = (Id, usize);

    async fn put_report(&self, report: &Report) -> Result<(), DapError> {
        let task = self.known(&report.task_id)?;
        let mut store = task.store();
        if store.is_known(&report.metadata.id) {
            return Err(DapError::Transition(TransitionFailure::ReportReplayed));
        }
        let bucket = task.bucket_of(report, &mut store);
        store.put(bucket, report).map_err(DapError::Transition)
    }

    async fn get_reports(
        &self,
        (task_id, most): &(Id, usize),
    ) -> Result<HashMap<Id, HashMap<PartialBatchSelector, Vec<Report>>>, DapError> {
        let mut selected: HashMap<PartialBatchSelector, Vec<Report>> = HashMap::new();
        for (bucket, reports) in self.known(task_id)?.store().take(*most) {
            selected.entry((&bucket).into()).or_default().extend(reports);
        }
        Ok(HashMap::from([(task_id.clone(), selected)]))
    }

    async fn init_collect_job(&self, request: &CollectReq) -> Result<Url, DapError> {
        let task = self.known(&request.task_id)?;
        let id = Id(rand::thread_rng().gen());
        let path = format!("collect/task/{}/req/{}", request.task_id.to_base64url(), id.to_base64url());
        let place = task.config.leader_url.join(&path).map_err(|error| DapError::Fatal(error.to_string()))?;
        let mut store = task.store();
        store.asked.push(id.clone());
        store.collections.insert(id, Collection::Pending(request.clone()));
        Ok(place)
    }

    async fn poll_collect_job(&self, task_id: &Id, collect_id: &Id) -> Result<DapCollectJob, DapError> {
        Ok(match self.known(task_id)?.store().collections.get(collect_id) {
            Some(Collection::Done(response)) => DapCollectJob::Done(response.clone()),
            Some(Collection::Pending(_)) => DapCollectJob::Pending,
            // Daphne knows none that failed; who polls is told by the server.
            Some(Collection::Failed(_)) | None => DapCollectJob::Unknown,
        })
    }

    async fn get_pending_collect_jobs(&self) -> Result<Vec<(Id, CollectReq)>, DapError> {
        let tasks: Vec<_> = self.tasks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Ok(tasks.iter().flat_map(|task| pending_collections(&task.store())).collect())
    }

    async fn finish_collect_job(&self, task_id: &Id, collect_id: &Id, response: &CollectResp) -> Result<(), DapError> {
        let task = self.known(task_id)?;
        task.store().collections.insert(collect_id.clone(), Collection::Done(response.clone()));
        Ok(())
    }

    async fn send_http_post(&self, request: DapRequest<BearerToken>) -> Result<DapResponse, DapError> {
        let token = request.sender_auth.as_ref().map(AsRef::as_ref).unwrap_or_default();
        match interop::post(&request.url, request.media_type.unwrap_or_default(), token, &request.payload) {
            Ok((media_type, payload)) => Ok(DapResponse { media_type: media_type_for(&media_type), payload }),
            Err(Unsent::Refused(why)) => Err(DapError::Abort(DapAbort::BadRequest(why))),
            Err(Unsent::Unreachable(why)) => Err(DapError::Fatal(why)),
        }
    }
}

/// The collections of a task that wait, in the order in which they were asked for.
pub fn pending_collections(store: &Store) -> Vec<(Id, CollectReq)> {
    let pending = store.asked.iter().filter_map(|id| match store.collections.get(id) {
        Some(Collection::Pending(request)) => Some((id.clone(), request.clone())),
        _ => None,
    });
    pending.collect()
}
