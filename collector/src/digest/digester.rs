//! Makes digests, and sends them to whoever is to read them.

use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;
use upkeep_promql::Value;

use super::daily::{BROKEN_CHARTS, Found, SECURITY_UPDATES, SILENT_HOSTS, daily};
use super::report::{Kind, Report};
use super::weekly::weekly;
use crate::alert::Courier;
use crate::clock::Clock;
use crate::ledger::{Ledger, usefulness};
use crate::notify::NotifyError;
use crate::query::{Engine, Instants, Wishes};
use crate::rule::Board;

/// The weekly digest looks back over four whole weeks and the present one.
const WEEKS: u32 = 5;

/// What digests are made of.
#[derive(Clone)]
pub struct Parts {
    /// The rules that there are.
    pub board: Arc<Board>,
    /// What became of their alerts.
    pub ledger: Ledger,
    /// What the hosts reported.
    pub engine: Engine,
    /// What time it is.
    pub clock: Clock,
    /// Who is told; nobody, if no receiver is named.
    pub courier: Option<Courier>,
    /// The address under which people reach this server.
    pub external_url: String,
}

/// Makes and sends digests. Clones share everything.
#[derive(Clone)]
pub struct Digester {
    parts: Arc<Parts>,
}

/// Why a digest is not sent.
#[derive(Debug, Error)]
pub enum DigestError {
    /// Nobody is to read it.
    #[error("nobody is told: `receiver` under [digest] in the configuration names no receiver")]
    NoReceiver,
}

/// How one channel was told.
#[derive(Debug)]
pub struct Told {
    /// The place of the channel among the receiver's.
    pub channel: usize,
    /// What it is called.
    pub kind: String,
    /// What came of it.
    pub outcome: Result<(), NotifyError>,
}

impl Digester {
    /// A digester of these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Who is told.
    pub fn courier(&self) -> Option<&Courier> {
        self.parts.courier.as_ref()
    }

    /// A digest as it would be sent now.
    pub async fn report(&self, kind: Kind) -> Report {
        match kind {
            Kind::Weekly => {
                let Parts { board, ledger, clock, .. } = &*self.parts;
                let (since_ms, tallies) = ledger.look_back(WEEKS, clock.now_ms());
                weekly(&usefulness(board.snapshot().alerting(), tallies), since_ms)
            }
            Kind::Daily => {
                let charts = self.ask(BROKEN_CHARTS).await;
                let silent = self.ask(SILENT_HOSTS).await;
                daily(charts, silent, self.ask(SECURITY_UPDATES).await)
            }
        }
    }

    /// Sends a digest now, by every channel; one that says nothing by none.
    ///
    /// # Errors
    /// When nobody is to read it.
    pub async fn send(&self, report: &Report) -> Result<Vec<Told>, DigestError> {
        let courier = self.courier().ok_or(DigestError::NoReceiver)?;
        if report.entries.is_empty() {
            return Ok(Vec::new());
        }
        let channels: Vec<_> = (0..courier.kinds().len()).collect();
        Ok(self.send_by(courier, report, &channels).await)
    }

    /// Sends a digest by some channels, at the same time.
    pub(super) async fn send_by(
        &self,
        courier: &Courier,
        report: &Report,
        channels: &[usize],
    ) -> Vec<Told> {
        let Parts { clock, external_url, .. } = &*self.parts;
        let message = report.notification(courier.receiver(), external_url, clock.now_ms());
        let (kinds, message) = (courier.kinds(), &message);
        let telling = channels
            .iter()
            .map(|channel| async move { (*channel, courier.tell(*channel, message).await) });
        let told = join_all(telling).await.into_iter();
        told.map(|(channel, outcome)| {
            let kind = kinds.get(channel).cloned().unwrap_or_default();
            Told { channel, kind, outcome }
        })
        .collect()
    }

    async fn ask(&self, text: &str) -> Found {
        let query = upkeep_promql::parse(text).map_err(|error| error.to_string())?;
        let at = Instants::At(self.parts.clock.now_ms());
        let answer = self.parts.engine.evaluate(query, at, Wishes::default()).await;
        let (answer, _place) = answer.map_err(|error| error.to_string())?;
        match answer.value {
            Value::Vector(points) => Ok(points),
            _ => Err("the answer is no vector".to_owned()),
        }
    }
}
