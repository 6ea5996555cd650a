//! The pages of the shipped rules, written for whoever is woken by one. They are part of the program
//! and hold no secrets, so a link in a message opens without a token.

use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;

use super::error::ApiError;

/// What the pages are to a browser: text that it shows as it is, and nothing that it runs.
const TEXT: [(axum::http::HeaderName, &str); 2] =
    [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

const INDEX: &str = include_str!("../../../docs/runbooks/README.md");

macro_rules! pages {
    ($($name:ident)*) => {
        &[$((
            stringify!($name),
            include_str!(concat!("../../../docs/runbooks/", stringify!($name), ".md")),
        )),*]
    };
}

/// Every page by its name.
pub(super) const PAGES: &[(&str, &str)] = pages! {
    AgentBufferFilling
    AgentCannotBuffer
    AgentCertificateNearItsEnd
    AgentLosesData
    AgentSkipsTicks
    AgentTakesMuchMemory
    CollectorCertificateNearItsEnd
    CollectorDataDamaged
    HostBondingDegraded
    HostClockNotSynchronised
    HostClockOff
    HostClockStepped
    HostConnectionTrackingAlmostFull
    HostDiskBusy
    HostDiskDefectsGrow
    HostDiskFailing
    HostDiskHealthUnknown
    HostDiskPreFailing
    HostDiskQueueLong
    HostDisksUnreadable
    HostFileDescriptorsAlmostExhausted
    HostFilesystemAlmostFull
    HostFilesystemFillsUp
    HostFilesystemReadOnly
    HostFilesystemUnreadable
    HostInExtendedSupport
    HostInodesAlmostExhausted
    HostInodesFillUp
    HostLoadHigh
    HostMajorPageFaults
    HostMemoryExhausted
    HostNetworkErrors
    HostOutOfMemoryKill
    HostOutOfSupport
    HostPackageListsNotRefreshed
    HostPackageListsStale
    HostProbeFailing
    HostProcessorBusy
    HostRaidDegraded
    HostRaidDiskFailed
    HostRebootRequired
    HostRebooted
    HostSecurityUpdatesPending
    HostServiceFailed
    HostServiceRestarting
    HostServicesStale
    HostSilent
    HostSupportEnds
    HostSwapping
    HostTextfileStale
    HostTextfileUnreadable
    HostTooHot
    HostUpdatesHeld
    HostUpdatesNotLookedUp
    HostUpdatesPending
    HostUpdatesUnknown
};

/// `GET /runbooks`: which pages there are.
pub(super) async fn index() -> impl IntoResponse {
    (TEXT, INDEX)
}

/// `GET /runbooks/{name}`: what to do about an alert, also under the name of the page's file.
pub(super) async fn show(Path(name): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let wanted = name.strip_suffix(".md").unwrap_or(&name);
    let page = PAGES.iter().find(|(name, _)| *name == wanted);
    let (_, text) =
        page.ok_or_else(|| ApiError::not_found(format!("there is no runbook {wanted:?}")))?;
    Ok((TEXT, *text))
}
