//! Questions that take longer than a tick may: a thread asks them at a rhythm of their own, and the
//! ticks see the last answer.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A question, asked again and again until this is dropped. One that hangs keeps its thread.
#[derive(Debug)]
pub(super) struct SlowQuestion<T> {
    last: Arc<Mutex<Option<T>>>,
    /// Ends with the first answer.
    first: Receiver<()>,
    /// The thread ends when this is dropped.
    _stop: Sender<()>,
}

impl<T: Send + 'static> SlowQuestion<T> {
    /// Asks now and then each time so long after the last answer; `None` where no thread can be
    /// started.
    pub(super) fn start(
        name: &str,
        rhythm: Duration,
        mut ask: impl FnMut() -> T + Send + 'static,
    ) -> Option<Self> {
        let last = Arc::new(Mutex::new(None));
        let (answered, first) = channel();
        let (stop, stopped) = channel();
        let known = Arc::clone(&last);
        let mut ask_once = move || {
            let answer = ask();
            *lock(&known) = Some(answer);
        };
        let work = move || {
            ask_once();
            drop(answered);
            while stopped.recv_timeout(rhythm) == Err(RecvTimeoutError::Timeout) {
                ask_once();
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(work).ok()?;
        Some(Self { last, first, _stop: stop })
    }

    /// The last answer. The first one is waited for, if it does not take longer than `patience`.
    pub(super) fn last(&self, patience: Duration) -> MutexGuard<'_, Option<T>> {
        if lock(&self.last).is_none() {
            // It ends with the first answer, and nothing is ever sent.
            let _ended = self.first.recv_timeout(patience);
        }
        lock(&self.last)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_first_answer_is_waited_for_and_later_ones_are_not() {
        let (answer, answers) = channel::<u32>();
        let question =
            SlowQuestion::start("test", Duration::ZERO, move || answers.recv().ok()).unwrap();
        assert_eq!(*question.last(Duration::from_millis(20)), None);
        let late = answer.clone();
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            late.send(1)
        });
        assert_eq!(*question.last(MINUTE), Some(Some(1)));
        sender.join().unwrap().unwrap();
        answer.send(2).unwrap();
        while *question.last(Duration::ZERO) != Some(Some(2)) {
            thread::yield_now();
        }
    }

    #[test]
    fn the_thread_ends_with_its_question() {
        let (alive, ended) = channel::<()>();
        let question = SlowQuestion::start("test", MINUTE, move || {
            let _kept = &alive;
        });
        drop(question.unwrap());
        assert_eq!(ended.recv_timeout(MINUTE), Err(RecvTimeoutError::Disconnected));
    }
}
