//! `/api/v1/inventory` and `/api/v1/hosts/{host}/inventory`: which packages are installed where.

use axum::extract::{Path, State};
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use upkeep_model::{HostId, InstalledPackage};

use super::error::ApiError;
use super::parameters::{self, PageLengths, Parameters};
use super::{Services, hosts, prometheus, time};
use crate::state::{HostPackage, PackageCursor, PackageFilter, PackageState};

const LENGTHS: PageLengths = PageLengths { usual: 1000, most: 10_000 };

#[derive(Serialize)]
struct Page {
    packages: Vec<PackageView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct PackageView {
    host: HostId,
    instance: String,
    manager: String,
    package: String,
    architecture: String,
    version: String,
}

/// One manager's packages of a host.
#[derive(Serialize)]
struct ManagerView {
    manager: String,
    /// False where the host has changes that did not arrive; it sends everything again.
    complete: bool,
    hash: String,
    changed_at: String,
}

#[derive(Serialize)]
struct HostInventory {
    id: HostId,
    instance: String,
    /// Why nothing is known, where that is so.
    unknown_reason: Option<&'static str>,
    managers: Vec<ManagerView>,
}

/// `GET /api/v1/inventory`: parameters `host` (id or instance), `package`, `limit` and `cursor`, in
/// the order of instance, manager, package, architecture and version.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let host = hosts::chosen(&services, &parameters).await?;
    let after = parameters.get("cursor").map(cursor).transpose()?.unwrap_or_default();
    let filter = PackageFilter { host, name: parameters.get("package").map(str::to_owned), after };
    // One more than a page tells whether there is another.
    let found = services.ask_state(move |state| state.packages(&filter, limit.saturating_add(1)));
    let mut packages = found.await?;
    let next_cursor = parameters::cut(&mut packages, limit).map(cursor_text);
    let packages = packages.into_iter().map(view).collect();
    Ok(prometheus::success(Page { packages, next_cursor }))
}

/// `GET /api/v1/hosts/{host}/inventory`: what is known of a host's packages, a manager a line; the
/// packages themselves are in the list.
pub(super) async fn show(
    State(services): State<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let record = hosts::find(&services, host).await?.record;
    let id = record.id;
    let states = services.ask_state(move |state| state.package_states(id)).await?;
    let never = "the host has not reported its packages yet";
    Ok(prometheus::success(HostInventory {
        id,
        instance: record.instance,
        unknown_reason: states.is_empty().then_some(never),
        managers: states.into_iter().map(manager).collect(),
    }))
}

fn manager(state: PackageState) -> ManagerView {
    let PackageState { manager, hash, changed_at_ms } = state;
    let changed_at = time::text(changed_at_ms);
    ManagerView { manager, complete: !hash.is_empty(), hash, changed_at }
}

fn view(found: HostPackage) -> PackageView {
    let HostPackage { host, instance, manager, package } = found;
    let InstalledPackage { name, architecture, version } = package;
    PackageView { host, instance, manager, package: name, architecture, version }
}

/// The names that a cursor is made of, in the order of the list.
type Place = [String; 5];

fn cursor_text(last: &HostPackage) -> String {
    let HostPackage { instance, manager, package, .. } = last.clone();
    let place: Place = [instance, manager, package.name, package.architecture, package.version];
    BASE64URL_NOPAD.encode(serde_json::json!(place).to_string().as_bytes())
}

fn cursor(text: &str) -> Result<PackageCursor, ApiError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ApiError::cursor())?;
    let place: Place = serde_json::from_slice(&bytes).map_err(|_| ApiError::cursor())?;
    let [instance, manager, name, architecture, version] = place;
    Ok(PackageCursor {
        instance,
        manager,
        package: InstalledPackage { name, architecture, version },
    })
}
