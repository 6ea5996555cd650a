//! Tasks that are started in order and stopped in the reverse order.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures_util::future::select_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// All stages together have this long to end; what has not ended by then is cut off. The service
/// manager would wait much longer, an operator would not.
const DEADLINE: Duration = Duration::from_millis(2500);

/// What runs, in the order of its start.
#[derive(Default)]
pub(super) struct Stages {
    running: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Stages {
    /// Starts a task that ends when its token is cancelled.
    pub(super) fn start<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(task(stop.clone()));
        self.running.push(Stage { name, stop, task });
    }

    /// Waits for a stage that ends without having been told to. It is none of the running then.
    pub(super) async fn first_to_end(&mut self) -> (&'static str, Result<()>) {
        let (result, index, _) = select_all(self.running.iter_mut().map(|one| &mut one.task)).await;
        let stage = self.running.remove(index);
        (stage.name, flatten(result))
    }

    /// Stops all stages, the last first.
    pub(super) async fn stop(self) {
        self.stop_within(DEADLINE).await;
    }

    async fn stop_within(mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(mut stage) = self.running.pop() {
            stage.stop.cancel();
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, &mut stage.task).await {
                Ok(result) => match flatten(result) {
                    Ok(()) => tracing::debug!("{} ended", stage.name),
                    Err(error) => tracing::warn!("{} ended badly: {error:#}", stage.name),
                },
                Err(_) => {
                    tracing::warn!("{} did not end in time and is cut off", stage.name);
                    stage.task.abort();
                }
            }
        }
    }
}

fn flatten(result: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    result.unwrap_or_else(|error| Err(anyhow!(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn stages_end_in_the_reverse_order_of_their_start() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let mut stages = Stages::default();
        for name in ["first", "second", "third"] {
            let ended = Arc::clone(&ended);
            stages.start(name, |stop| async move {
                stop.cancelled().await;
                ended.lock().unwrap().push(name);
                Ok(())
            });
        }
        stages.stop().await;
        assert_eq!(*ended.lock().unwrap(), ["third", "second", "first"]);
    }

    #[tokio::test]
    async fn a_stage_that_ends_by_itself_is_named() {
        let mut stages = Stages::default();
        stages.start("steady", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        stages.start("broken", |_| async { Err(anyhow!("no disk")) });
        let (name, result) = stages.first_to_end().await;
        assert_eq!((name, result.unwrap_err().to_string().as_str()), ("broken", "no disk"));
        stages.stop().await;
    }

    #[tokio::test]
    async fn a_stage_that_does_not_end_is_cut_off_and_the_others_are_told() {
        let mut stages = Stages::default();
        let (told, mut telling) = tokio::sync::mpsc::channel(1);
        stages.start("patient", |stop| async move {
            stop.cancelled().await;
            Ok(told.send(()).await?)
        });
        stages.start("stuck", |_| std::future::pending());
        stages.stop_within(Duration::from_millis(20)).await;
        assert_eq!(telling.recv().await, Some(()));
    }
}
