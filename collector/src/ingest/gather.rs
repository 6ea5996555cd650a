//! Messages that have arrived are taken together, so that they are committed together.

use futures_util::FutureExt;
use tonic::{Status, Streaming};
use upkeep_wire::v1;
use upkeep_wire::v1::agent_message::Message;

/// So much is read at most before it is committed.
const GATHER_BYTES: usize = 1024 * 1024;

/// The first message and all that has arrived after it, within bounds; and how the stream ended,
/// if it did.
pub(super) fn gather(
    first: v1::AgentMessage,
    inbound: &mut Streaming<v1::AgentMessage>,
) -> (Vec<Message>, Option<Result<(), Status>>) {
    let mut bytes = size(&first);
    let mut messages: Vec<Message> = first.message.into_iter().collect();
    while bytes < GATHER_BYTES {
        match inbound.message().now_or_never() {
            None => return (messages, None),
            Some(Ok(Some(next))) => {
                bytes += size(&next);
                messages.extend(next.message);
            }
            Some(Ok(None)) => return (messages, Some(Ok(()))),
            Some(Err(status)) => return (messages, Some(Err(status))),
        }
    }
    (messages, None)
}

fn size(message: &v1::AgentMessage) -> usize {
    match &message.message {
        Some(Message::Batch(batch)) => batch.records.iter().map(|record| record.body.len()).sum(),
        _ => 0,
    }
}
