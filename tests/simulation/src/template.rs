//! A collector's folder with enrolled hosts and the hosts' identities, made once for all seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use upkeep_agent::identity::{Credential, HostKey, Identity, IdentityFolder};
use upkeep_collector::ca::{Authority, HostRequest};
use upkeep_collector::state::{
    By, EnrollmentAttempt, FILE_NAME, NewEnrollmentToken, SecretHash, State,
};
use upkeep_model::HostId;
use upkeep_store::{Options, Store};
use uuid::Uuid;

use crate::plan::MAX_AGENTS;

/// What the collector's clock shows as a simulation begins.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// Certificates outlive every simulation: their renewal is told of elsewhere.
pub const LIFETIME: Duration = Duration::from_hours(24 * 3650);

/// Where the samples are in the collector's folder.
pub const SAMPLES: &str = "samples";

/// The name of an agent and of its host in the simulation.
pub fn name(agent: usize) -> String {
    format!("agent-{agent}")
}

/// The collector's folder in the template.
pub fn collector(template: &Path) -> PathBuf {
    template.join("collector")
}

/// An agent's identity in the template.
pub fn identity(template: &Path, agent: usize) -> IdentityFolder {
    IdentityFolder::new(&template.join(name(agent)))
}

/// Makes it.
///
/// # Errors
/// When a file cannot be written.
pub fn prepare(template: &Path) -> Result<()> {
    let folder = collector(template);
    fs::create_dir_all(&folder)?;
    Authority::create(&folder, &["collector".to_owned()], BEGIN_MS)?;
    let authority = Authority::open(&folder, LIFETIME)?;
    let state = State::open(&folder.join(FILE_NAME))?;
    drop(Store::open(&folder.join(SAMPLES), Options::default())?);
    for agent in 0..MAX_AGENTS {
        enroll(&identity(template, agent), agent, &authority, &state)?;
    }
    Ok(())
}

fn enroll(
    folder: &IdentityFolder,
    agent: usize,
    authority: &Authority,
    state: &State,
) -> Result<()> {
    let id = name(agent);
    let secret_hash = SecretHash::of(id.as_bytes());
    let by = By { actor: "simulation".to_owned(), at_ms: BEGIN_MS };
    let token =
        NewEnrollmentToken { id: id.clone(), secret_hash, expires_at_ms: i64::MAX, uses: 1 };
    state.create_enrollment_token(&token, &by)?;
    let key = HostKey::generate()?;
    let request = HostRequest::from_der(&key.certificate_request()?)?;
    let attempt = EnrollmentAttempt {
        token_id: id.clone(),
        secret_hash,
        enrollment_id: id.clone(),
        key_hash: request.key_hash(),
        hostname: id,
        agent_version: "simulated".to_owned(),
        fresh: HostId(Uuid::from_u128(agent as u128 + 1)),
    };
    let (host_id, instance) = state.enroll(&attempt, BEGIN_MS)?.context("a host was refused")?;
    let issued = authority.certify(host_id, &request, BEGIN_MS)?;
    let credential = Credential::new(key, issued.chain).map_err(|fault| anyhow!(fault))?;
    let address = "collector:443".to_owned();
    let identity = Identity { host_id, instance, address, enrolled_at_ms: BEGIN_MS };
    // The enrollment itself is told of elsewhere; this makes the folder.
    folder.begin(&upkeep_agent::identity::Pending {
        token_id: String::new(),
        enrollment_id: Uuid::nil(),
        key: HostKey::generate()?,
    })?;
    Ok(folder.finish(&identity, &credential, authority.roots())?)
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
