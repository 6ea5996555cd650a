//! What the collector of the tests does wrong on purpose.

/// What the collector does wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Commits what comes and ends the stream in place of an acknowledgement, so many times.
    LosesAcknowledgements(u32),
    /// Forgets the last record of each batch, so many times, and asks for it again.
    LosesRecords(u32),
    /// Commits enrollments and answers with an error, so many times.
    LosesReplies(u32),
    /// Leaves the backlog lying and answers nothing to it.
    HoldsBacklog,
    /// Answers no Open until it no longer does this.
    AcceptsLate,
    /// Knows no ranges and no live samples beside the backlog.
    IsFormer,
    /// Holds the buffer for another copy of the one that it knows, so many times.
    KnowsAnotherCopy(u32),
    /// Refuses every stream with this reason.
    Refuses(&'static str),
    /// Accepts every stream and ends it with this reason once samples come.
    RefusesSamples(&'static str),
}

impl Fault {
    pub(super) fn acknowledgements(&mut self) -> Option<&mut u32> {
        if let Self::LosesAcknowledgements(left) = self { Some(left) } else { None }
    }

    pub(super) fn records(&mut self) -> Option<&mut u32> {
        if let Self::LosesRecords(left) = self { Some(left) } else { None }
    }

    pub(super) fn copies(&mut self) -> Option<&mut u32> {
        if let Self::KnowsAnotherCopy(left) = self { Some(left) } else { None }
    }

    pub(super) fn replies(&mut self) -> Option<&mut u32> {
        if let Self::LosesReplies(left) = self { Some(left) } else { None }
    }
}
