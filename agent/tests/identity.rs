//! The identity after power cuts: each file is the old one or the new one, and an enrolled host has
//! all that it needs.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use upkeep_agent::identity::{
    Credential, HostKey, Identity, IdentityError, IdentityFolder, Pending,
};
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::HostId;
use uuid::Uuid;

/// States that are tried of each kind of disk unless told otherwise.
const FEW: u64 = 26;

/// Renewals in a life.
const RENEWALS: usize = 6;

/// The content of all files.
#[derive(Clone, Debug, Default, PartialEq)]
struct Files {
    identity: Option<Identity>,
    credential: Option<Credential>,
    roots: Option<Vec<CertificateDer<'static>>>,
    pending: Option<Pending>,
}

impl Files {
    fn read(folder: &IdentityFolder) -> Self {
        Self {
            identity: if_enrolled(folder.identity()),
            credential: if_enrolled(folder.credential()),
            roots: if_enrolled(folder.roots()),
            pending: folder.pending().unwrap(),
        }
    }
}

/// A file that is not there is an answer; one that cannot be understood is a failure.
fn if_enrolled<T: std::fmt::Debug>(read: Result<T, IdentityError>) -> Option<T> {
    match read {
        Err(IdentityError::NotEnrolled(_)) => None,
        read => Some(read.unwrap()),
    }
}

fn certified() -> (Credential, Vec<CertificateDer<'static>>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let pem: HostKey = serde_json::from_value(key.serialize_pem().into()).unwrap();
    (Credential::new(pem, vec![certificate.clone()]).unwrap(), vec![certificate])
}

fn at(folder: &Path) -> IdentityFolder {
    IdentityFolder::new(&folder.join("state"))
}

struct IdentityFiles;

impl Durable for IdentityFiles {
    /// The files after each step that was confirmed, from none on.
    type Life = Vec<Files>;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Vec<Files> {
        let folder = at(recording.path());
        let mut life = vec![Files::default()];
        let mut confirm = || {
            recording.mark(life.len() as u64);
            life.push(Files::read(&folder));
        };
        let pending = Pending {
            token_id: "token".to_owned(),
            enrollment_id: Uuid::from_u128(random.random()),
            key: HostKey::generate().unwrap(),
        };
        folder.begin(&pending).unwrap();
        confirm();
        let identity = Identity {
            host_id: HostId(Uuid::from_u128(random.random())),
            instance: "web1".to_owned(),
            address: "collector.example.org:8443".to_owned(),
            enrolled_at_ms: 1,
        };
        let (credential, roots) = certified();
        folder.finish(&identity, &credential, &roots).unwrap();
        confirm();
        for _ in 0..RENEWALS {
            let (credential, roots) = certified();
            folder.renew(&credential, &roots).unwrap();
            confirm();
        }
        life
    }

    fn open(&self, folder: &Path) {
        Files::read(&at(folder));
    }

    fn check(&self, life: &Vec<Files>, mark: Option<u64>, folder: &Path) {
        let found = Files::read(&at(folder));
        let before = mark.map_or(0, |mark| usize::try_from(mark).unwrap());
        let (old, new) = (&life[before], life.get(before + 1).unwrap_or(&life[before]));
        assert!([&old.identity, &new.identity].contains(&&found.identity), "{found:?}");
        assert!([&old.credential, &new.credential].contains(&&found.credential), "{found:?}");
        assert!([&old.roots, &new.roots].contains(&&found.roots), "{found:?}");
        assert!([&old.pending, &new.pending].contains(&&found.pending), "{found:?}");
        if found.identity.is_some() {
            assert!(found.credential.is_some() && found.roots.is_some(), "{found:?}");
        } else {
            let is_known = found.pending.is_some() || old.pending.is_none();
            assert!(is_known, "the key of an enrollment in flight is gone");
        }
        // And on it goes.
        let (credential, roots) = certified();
        let folder = at(folder);
        if found.identity.is_some() {
            folder.renew(&credential, &roots).unwrap();
            assert_eq!(folder.credential().unwrap(), credential);
        } else if let Some(pending) = found.pending {
            folder.begin(&pending).unwrap();
        }
    }
}

#[test]
fn a_confirmed_identity_survives_power_cuts() {
    survives_power_cuts(&IdentityFiles, Ordering::Journalled, FEW);
}

#[test]
fn a_confirmed_identity_survives_power_cuts_where_nothing_is_ordered() {
    survives_power_cuts(&IdentityFiles, Ordering::Loose, FEW);
}
