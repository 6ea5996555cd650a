//! Series that come and go by the hundred, in a page of a fake host's textfiles.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{Collector, FakeHost, until};

/// Series at a time. With some two rounds more the agent numbers them anew.
const SERIES: usize = 1500;

/// A page that has other series in each round, whose value is the round.
pub struct Leases {
    folder: PathBuf,
    rounds: usize,
}

impl Leases {
    /// What an agent's configuration needs so that it reads the page.
    pub const SETTINGS: &str = "[textfile]\ndirectory = \"/leases\"\n";

    /// A host's page, which is not there before the first round.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(host: &FakeHost) -> Result<Self> {
        let folder = host.path().join("root/leases");
        std::fs::create_dir(&folder)?;
        Ok(Self { folder, rounds: 0 })
    }

    /// Begins a round, and waits until the collector has its series and no others.
    ///
    /// # Errors
    /// When they do not come in time.
    pub async fn next_round(&mut self, collector: &Collector, within: Duration) -> Result<()> {
        let round = self.rounds;
        let line = |number| format!("lease{{round=\"{round}\",number=\"{number}\"}} {round}\n");
        let page: String = (0..SERIES).map(line).collect();
        std::fs::write(self.folder.join("next"), page)?;
        std::fs::rename(self.folder.join("next"), self.folder.join("leases.prom"))?;
        self.rounds += 1;
        until("the round's series, and no others", within, || async {
            let now = collector.query("count by (round) (lease)").await?;
            let [only] = now.as_slice() else { return Ok(None) };
            let is_new = only["metric"]["round"] == round.to_string().as_str();
            Ok((is_new && only["value"][1] == SERIES.to_string().as_str()).then_some(()))
        })
        .await
    }

    /// The rounds that were begun.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Checks that no value is one of another series, and gives of how many rounds there are some.
    ///
    /// # Errors
    /// When a series has a value that it never had.
    pub async fn check(&self, collector: &Collector) -> Result<usize> {
        let mut found = 0;
        for (what, over_time) in [("least", "min"), ("most", "max")] {
            let values = format!("{over_time} by (round) ({over_time}_over_time(lease[1h]))");
            let values = collector.query(&values).await?;
            for row in &values {
                ensure!(row["metric"]["round"] == row["value"][1], "{what} of {row}");
            }
            found = values.len();
        }
        Ok(found)
    }
}
