//! Tells others which hosts' samples were just committed, without ever waiting for them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

/// So many hosts may be told that nobody has taken yet. Whoever takes them takes all there are.
const UNTAKEN: usize = 8192;

/// Whom the door for agents tells. Without anybody, as by default, it tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    listener: Option<mpsc::Sender<String>>,
    untold: Counter,
}

impl Arrivals {
    /// Tells the receiver that comes with it, by the value of the label `instance`.
    pub fn register(registry: &mut Registry) -> (Self, mpsc::Receiver<String>) {
        let (listener, told) = mpsc::channel(UNTAKEN);
        let arrivals = Self { listener: Some(listener), untold: Counter::default() };
        let help = "Arrivals of hosts' samples that rules were not told of, since too many waited; \
                    they are seen at the next turn";
        registry.register("upkeep_agent_arrivals_untold", help, arrivals.untold.clone());
        (arrivals, told)
    }

    /// Live samples of a host were committed.
    pub(super) fn tell(&self, instance: &str) {
        if let Some(listener) = &self.listener
            && listener.try_send(instance.to_owned()).is_err()
        {
            self.untold.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_and_nobody_waits() {
        let mut registry = Registry::default();
        let (arrivals, mut told) = Arrivals::register(&mut registry);
        for number in 0..UNTAKEN + 2 {
            arrivals.tell(&format!("web{number}"));
        }
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        assert!(page.contains("upkeep_agent_arrivals_untold_total 2\n"), "{page}");
        assert_eq!(told.try_recv().unwrap(), "web0");
        Arrivals::default().tell("web1");
    }
}
