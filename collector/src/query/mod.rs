//! PromQL over the store, within bounds: how many samples a query may read, how long it may take,
//! and how many run at once.
//!
//! Evaluation blocks, so it runs on the blocking threads; a query keeps its place until its
//! evaluation has really ended, even if nobody waits for the answer any more.

mod coarse;
mod gaps;
mod source;

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use upkeep_model::{HostId, Labels, Matcher, SeriesSamples};
use upkeep_promql::{Answer, EvalError, Limits, Query, Source};
use upkeep_store::{Reading, Store, StoreError};

pub use gaps::{GapSource, KnownGap};
pub use source::StoreSource;

use coarse::CoarseAware;
use source::GapAware;

/// The bounds of queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most samples that one query may hold at a time.
    pub max_samples: usize,
    /// The most steps of a range query.
    pub max_points_per_series: usize,
    /// How long a query may take, its wait for a place included.
    pub timeout: Duration,
    /// How many queries run at once; the others wait.
    pub concurrency: usize,
    /// How old a sample may be and still count as the present value.
    pub lookback: Duration,
}

impl Default for Settings {
    /// Prometheus' defaults.
    fn default() -> Self {
        Self {
            max_samples: 50_000_000,
            max_points_per_series: 11_000,
            timeout: Duration::from_mins(2),
            concurrency: 20,
            lookback: Duration::from_mins(5),
        }
    }
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The time ran out; the text says during what.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The query's type has no values over a range.
    #[error("{0}")]
    NoRange(String),
    /// The range has too many steps.
    #[error("{0}")]
    Resolution(String),
    /// The query cannot be evaluated.
    #[error("{0}")]
    Evaluation(String),
    /// The store cannot be read.
    #[error("{0}")]
    Store(String),
    /// The collector is stopping, or the evaluation came to an unexpected end.
    #[error("the evaluation was broken off")]
    Stopped,
}

/// What one request may ask to differ from the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// A shorter time; a longer one than the settings' is not granted.
    pub timeout: Option<Duration>,
    /// Another lookback.
    pub lookback: Option<Duration>,
}

/// The instants that a query is evaluated at, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instants {
    /// One.
    At(i64),
    /// From `start_ms` through `end_ms`, `step_ms` apart.
    Range {
        /// The first.
        start_ms: i64,
        /// None is later than this.
        end_ms: i64,
        /// Milliseconds between two; positive.
        step_ms: i64,
    },
}

/// The stretch of time that a look-up of series covers, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Samples later than this count.
    pub after_ms: i64,
    /// Samples up to and including this count.
    pub through_ms: i64,
}

/// What is asked about series and their labels.
#[derive(Clone, Debug)]
pub struct LookUp {
    /// A series counts that one of them finds.
    pub selectors: Vec<Vec<Matcher>>,
    /// When it has samples.
    pub window: Window,
    /// A shorter time than the settings'.
    pub timeout: Option<Duration>,
}

impl LookUp {
    fn or_everything(mut self) -> Self {
        if self.selectors.is_empty() {
            self.selectors.push(Vec::new());
        }
        self
    }
}

/// A place among the queries that run at once. Whoever still holds a large answer keeps it, so that
/// there are no more of those at a time than places; it is given back as it is dropped.
pub type Place = OwnedSemaphorePermit;

/// Evaluates queries and looks up series; clones share the bounds.
#[derive(Clone)]
pub struct Engine {
    store: Arc<Store>,
    settings: Arc<Settings>,
    places: Arc<Semaphore>,
    gaps: Option<Arc<dyn GapSource>>,
}

impl Engine {
    /// An engine over a store.
    pub fn new(store: Arc<Store>, settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        Self { store, settings: Arc::new(settings), places, gaps: None }
    }

    /// The same, whose series end where gaps are declared, and whose answers name those.
    #[must_use]
    pub fn with_gaps(self, gaps: Arc<dyn GapSource>) -> Self {
        Self { gaps: Some(gaps), ..self }
    }

    /// The bounds in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Evaluates a query. The place that it ran in comes with the answer.
    ///
    /// # Errors
    /// When time or samples run out, the query does not fit the data, or the store fails.
    pub async fn evaluate(
        &self,
        query: Query,
        instants: Instants,
        wishes: Wishes,
    ) -> Result<(Answer, Place), QueryError> {
        let timeout = self.granted(wishes.timeout);
        let deadline = Instant::now().checked_add(timeout);
        let lookback = wishes.lookback.unwrap_or(self.settings.lookback);
        let limits = Limits {
            max_samples: self.settings.max_samples,
            max_points_per_series: self.settings.max_points_per_series,
            lookback_ms: i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX),
            deadline,
        };
        let place = self.place(timeout).await?;
        let gaps = self.gaps.clone();
        self.blocking(place, move |store| {
            let source = CoarseAware::new(StoreSource::new(Arc::clone(store)));
            let mut answer = match gaps {
                Some(gaps) => {
                    let source = GapAware::new(&source, gaps.as_ref());
                    let mut answer = run(&query, &source, instants, &limits)?;
                    answer.infos.extend(source.infos());
                    answer
                }
                None => run(&query, &source, instants, &limits)?,
            };
            answer.warnings.extend(source.warnings());
            answer.infos.extend(source.infos());
            Ok(answer)
        })
        .await
    }

    /// The samples of series, of one host or of all, for each of the selectors.
    ///
    /// # Errors
    /// When the time runs out or the store fails.
    pub async fn samples(
        &self,
        host: Option<HostId>,
        selectors: Vec<Vec<Matcher>>,
        window: Window,
    ) -> Result<Vec<Vec<SeriesSamples>>, QueryError> {
        let Settings { timeout, max_samples, .. } = *self.settings;
        let deadline = Instant::now().checked_add(timeout);
        let place = self.place(timeout).await?;
        self.blocking(place, move |store| {
            let Window { after_ms, through_ms } = window;
            let mut max_samples = max_samples;
            let mut found = Vec::with_capacity(selectors.len());
            for matchers in &selectors {
                let bounds = Reading {
                    home: host,
                    max_samples,
                    deadline,
                    ..Reading::of(matchers, after_ms, through_ms)
                };
                let series = store.read(&bounds)?;
                let read: usize = series.iter().map(|one| one.values.len()).sum();
                max_samples = max_samples.saturating_sub(read);
                found.push(series);
            }
            Ok(found)
        })
        .await
        .map(|(samples, _)| samples)
    }

    /// The label sets that match any of the selectors, sorted, each once.
    ///
    /// # Errors
    /// When the time runs out or the store fails.
    pub async fn series(&self, look_up: LookUp) -> Result<(Vec<Labels>, Place), QueryError> {
        self.union(look_up, |store, matchers, window| {
            store.label_sets(matchers, window.after_ms, window.through_ms)
        })
        .await
    }

    /// The names of the labels that series matching any of the selectors have, sorted; without
    /// selectors those of all series.
    ///
    /// # Errors
    /// When the time runs out or the store fails.
    pub async fn label_names(&self, look_up: LookUp) -> Result<(Vec<String>, Place), QueryError> {
        self.union(look_up.or_everything(), |store, matchers, window| {
            store.label_names(matchers, window.after_ms, window.through_ms)
        })
        .await
    }

    /// The values that a label has in series matching any of the selectors, sorted; without
    /// selectors those in all series.
    ///
    /// # Errors
    /// When the time runs out or the store fails.
    pub async fn label_values(
        &self,
        name: String,
        look_up: LookUp,
    ) -> Result<(Vec<String>, Place), QueryError> {
        self.union(look_up.or_everything(), move |store, matchers, window| {
            store.label_values(&name, matchers, window.after_ms, window.through_ms)
        })
        .await
    }

    /// What all selectors find. Who waits hears that the time is over as soon as it is; what the store
    /// has begun by then goes on to its end, and keeps its place so long.
    async fn union<T: Ord + Send + 'static>(
        &self,
        look_up: LookUp,
        find: impl Fn(&Store, &[Matcher], Window) -> Result<Vec<T>, StoreError> + Send + 'static,
    ) -> Result<(Vec<T>, Place), QueryError> {
        const WHERE: &str = "the look-up of series";
        let timeout = self.granted(look_up.timeout);
        let deadline = Instant::now().checked_add(timeout);
        let place = self.place(timeout).await?;
        let is_over = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let finding = self.blocking(place, move |store| {
            let mut found = Vec::new();
            for matchers in &look_up.selectors {
                if is_over() {
                    return Err(QueryError::Timeout(WHERE));
                }
                found.extend(find(store, matchers, look_up.window)?);
            }
            found.sort_unstable();
            found.dedup();
            Ok(found)
        });
        let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
        tokio::time::timeout(left, finding).await.unwrap_or(Err(QueryError::Timeout(WHERE)))
    }

    /// The time that a request has that wishes for some.
    fn granted(&self, wish: Option<Duration>) -> Duration {
        wish.unwrap_or(Duration::MAX).min(self.settings.timeout)
    }

    async fn place(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, QueryError> {
        let waiting = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(timeout, waiting).await {
            Ok(place) => place.map_err(|_| QueryError::Stopped),
            Err(_) => Err(QueryError::Timeout("query queue")),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&Arc<Store>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<(T, Place), QueryError> {
        let store = Arc::clone(&self.store);
        let running = task::spawn_blocking(move || work(&store).map(|done| (done, place)));
        running.await.unwrap_or(Err(QueryError::Stopped))
    }
}

fn run(
    query: &Query,
    source: &dyn Source,
    instants: Instants,
    limits: &Limits,
) -> Result<Answer, QueryError> {
    let answer = match instants {
        Instants::At(at_ms) => query.instant(source, at_ms, limits),
        Instants::Range { start_ms, end_ms, step_ms } => {
            query.range(source, start_ms, end_ms, step_ms, limits)
        }
    };
    Ok(answer?)
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Timeout => Self::Timeout("reading samples"),
            StoreError::TooManySamples { .. } => Self::Evaluation(error.to_string()),
            error => Self::Store(error.to_string()),
        }
    }
}

impl From<EvalError> for QueryError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Timeout => Self::Timeout("expression evaluation"),
            EvalError::Source(cause) => Self::Store(cause),
            EvalError::RangeOfType { .. } => Self::NoRange(error.to_string()),
            EvalError::Resolution { .. } => Self::Resolution(error.to_string()),
            _ => Self::Evaluation(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::METRIC_NAME;
    use upkeep_promql::Value;
    use upkeep_store::{Append, Options};
    use uuid::Uuid;

    use super::*;

    fn engine(settings: Settings) -> (tempfile::TempDir, Engine) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::default()).unwrap();
        let labels = Labels::new([(METRIC_NAME, "up")]);
        let points = (1..=100).map(|second| (labels.clone(), second * 1000, 1.0)).collect();
        let home = HostId(Uuid::nil());
        store.commit(vec![Append::Points { home, points }]).unwrap();
        (folder, Engine::new(Arc::new(store), settings))
    }

    async fn ask(engine: &Engine, expression: &str, wishes: Wishes) -> Result<Value, QueryError> {
        let query = upkeep_promql::parse(expression).unwrap();
        engine.evaluate(query, Instants::At(100_000), wishes).await.map(|(answer, _)| answer.value)
    }

    fn length(value: &Value) -> usize {
        match value {
            Value::Vector(points) => points.len(),
            other => panic!("no vector: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_query_waits_for_its_place_no_longer_than_its_time() {
        let (_folder, engine) = engine(Settings { concurrency: 1, ..Settings::default() });
        let taken = engine.place(Duration::ZERO).await.unwrap();
        let wishes = Wishes { timeout: Some(Duration::from_millis(20)), lookback: None };
        let since = Instant::now();
        let refused = ask(&engine, "up", wishes).await.unwrap_err();
        assert_eq!(refused.to_string(), "query timed out in query queue");
        assert!(since.elapsed() < Duration::from_millis(900), "{:?}", since.elapsed());
        drop(taken);
        assert_eq!(length(&ask(&engine, "up", Wishes::default()).await.unwrap()), 1);
    }

    #[tokio::test]
    async fn a_look_up_ends_when_its_time_is_over() {
        let (_folder, engine) = engine(Settings::default());
        let window = Window { after_ms: 0, through_ms: 100_000 };
        let names = async |timeout| {
            engine.label_names(LookUp { selectors: Vec::new(), window, timeout }).await
        };
        assert_eq!(names(None).await.unwrap().0, [METRIC_NAME]);
        let refused = names(Some(Duration::ZERO)).await.unwrap_err();
        assert!(matches!(refused, QueryError::Timeout(_)), "{refused}");
    }

    #[tokio::test]
    async fn who_holds_an_answer_keeps_its_place() {
        let (_folder, engine) = engine(Settings { concurrency: 1, ..Settings::default() });
        let query = || upkeep_promql::parse("up").unwrap();
        let wishes = Wishes { timeout: Some(Duration::from_millis(20)), lookback: None };
        let (_, place) = engine.evaluate(query(), Instants::At(0), wishes).await.unwrap();
        let refused = engine.evaluate(query(), Instants::At(0), wishes).await.unwrap_err();
        assert_eq!(refused.to_string(), "query timed out in query queue");
        drop(place);
        assert!(engine.evaluate(query(), Instants::At(0), wishes).await.is_ok());
    }

    #[tokio::test]
    async fn a_query_reads_no_more_samples_than_allowed() {
        let (_folder, engine) = engine(Settings { max_samples: 50, ..Settings::default() });
        let sum = "sum_over_time(up[30s])";
        assert_eq!(length(&ask(&engine, sum, Wishes::default()).await.unwrap()), 1);
        let refused = ask(&engine, "sum_over_time(up[2m])", Wishes::default()).await.unwrap_err();
        let words = "query processing would load too many samples into memory in query execution";
        assert!(matches!(&refused, QueryError::Evaluation(said) if said == words), "{refused}");
    }

    #[tokio::test]
    async fn a_request_may_look_back_less_or_further() {
        let (_folder, engine) = engine(Settings::default());
        let found = async |lookback: Option<u64>| {
            let wishes = Wishes { lookback: lookback.map(Duration::from_secs), timeout: None };
            let query = upkeep_promql::parse("up").unwrap();
            let (answer, _) = engine.evaluate(query, Instants::At(150_000), wishes).await.unwrap();
            length(&answer.value)
        };
        assert_eq!(found(None).await, 1);
        assert_eq!(found(Some(30)).await, 0);
        assert_eq!(found(Some(60)).await, 1);
    }
}
