//! The authority's files.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::identity;
use super::issue::{Intermediate, MadeAuthority};
use super::{Authority, CaError, ServerCertificate};

const FOLDER: &str = "ca";
const FOLDER_IN_THE_MAKING: &str = "ca.new";
const ROOTS: &str = "root.pem";
const ROOT_KEY: &str = "root-a.key";
const AGENTS: &str = "agents";
const SERVERS: &str = "servers";
const SERVER: &str = "server.pem";
pub(super) const SERVER_NAMES: &str = "server.names";

/// Writes a new authority.
pub(super) fn create(
    data_folder: &Path,
    names: &[String],
    made: &MadeAuthority,
) -> Result<(), CaError> {
    make_folder(data_folder)?;
    let target = data_folder.join(FOLDER);
    if target.exists() {
        return Err(CaError::Exists(target));
    }
    let folder = data_folder.join(FOLDER_IN_THE_MAKING);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| file_error(&folder, source))?;
    }
    make_folder(&folder)?;
    let intermediate = |name: &str, suffix: &str| format!("{name}.{suffix}");
    let names_text = names.join("\n") + "\n";
    for (name, text) in [
        (ROOTS.to_owned(), &made.root.certificate),
        (ROOT_KEY.to_owned(), &made.root.key),
        (intermediate(AGENTS, "pem"), &made.agents.certificate),
        (intermediate(AGENTS, "key"), &made.agents.key),
        (intermediate(SERVERS, "pem"), &made.servers.certificate),
        (intermediate(SERVERS, "key"), &made.servers.key),
        (SERVER.to_owned(), &made.server.pem),
        (SERVER_NAMES.to_owned(), &names_text),
    ] {
        let path = folder.join(name);
        write_new(&path, text).map_err(|source| file_error(&path, source))?;
    }
    sync_folder(&folder)?;
    fs::rename(&folder, &target).map_err(|source| file_error(&target, source))?;
    sync_folder(data_folder)
}

/// Reads an authority.
pub(super) fn open(data_folder: &Path, host_lifetime: Duration) -> Result<Authority, CaError> {
    let folder = data_folder.join(FOLDER);
    if !folder.exists() {
        return Err(CaError::Missing(folder));
    }
    let path = folder.join(ROOTS);
    let roots = certificates(&path, &read(&path)?)?;
    let agents = intermediate(&folder, AGENTS)?;
    let servers = intermediate(&folder, SERVERS)?;
    Ok(Authority { folder, roots, agents, servers, host_lifetime })
}

/// Reads the collector's own certificate.
pub(super) fn read_server(folder: &Path) -> Result<ServerCertificate, CaError> {
    let path = folder.join(SERVER);
    let text = read(&path)?;
    let chain = certificates(&path, &text)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| content_error(&path, error))?;
    let leaf = chain.first().ok_or_else(|| content_error(&path, "no certificate"))?;
    let validity = identity::begins_at_ms(leaf).zip(identity::expires_at_ms(leaf));
    let (begins_at_ms, expires_at_ms) =
        validity.ok_or_else(|| content_error(&path, "the certificate cannot be read"))?;
    Ok(ServerCertificate { chain, key, begins_at_ms, expires_at_ms, renewed: false })
}

/// Puts a new certificate of the collector in the place of the present one.
pub(super) fn replace_server(folder: &Path, pem: &str) -> Result<(), CaError> {
    let path = folder.join(SERVER);
    // Mode and owner of the present file are kept.
    let replace = || {
        let mut file = atomic_write_file::AtomicWriteFile::open(&path)?;
        file.write_all(pem.as_bytes())?;
        file.commit()
    };
    replace().map_err(|source| file_error(&path, source))
}

/// The names and addresses of the collector.
pub(super) fn server_names(folder: &Path) -> Result<Vec<String>, CaError> {
    let text = read(&folder.join(SERVER_NAMES))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn intermediate(folder: &Path, name: &str) -> Result<Intermediate, CaError> {
    let certificate_path = folder.join(format!("{name}.pem"));
    let key_path = folder.join(format!("{name}.key"));
    let pem = read(&certificate_path)?;
    let key =
        KeyPair::from_pem(&read(&key_path)?).map_err(|error| content_error(&key_path, error))?;
    let certificate = certificates(&certificate_path, &pem)?
        .into_iter()
        .next()
        .ok_or_else(|| content_error(&certificate_path, "no certificate"))?;
    let issuer = Issuer::from_ca_cert_der(&certificate, key)
        .map_err(|error| content_error(&certificate_path, error))?;
    Ok(Intermediate { certificate, pem, issuer })
}

fn certificates(path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| content_error(path, error))?;
    if found.is_empty() {
        return Err(content_error(path, "no certificate"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|source| file_error(path, source))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn make_folder(path: &Path) -> Result<(), CaError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| file_error(path, source))
}

fn sync_folder(path: &Path) -> Result<(), CaError> {
    fs::File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> CaError {
    CaError::File { path: path.to_owned(), source }
}

fn content_error(path: &Path, problem: impl std::fmt::Display) -> CaError {
    CaError::Content { path: PathBuf::from(path), problem: problem.to_string() }
}
