//! The socket between the agent and its helper: questions to the one, answers to the other.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use upkeep_agent::helper::{
    Answer, DmiAnswer, EnergyAnswer, EnergyZone, Permissions, RestartsAnswer, SmartAnswer,
    SmartOutput, StaleProcess, Verb, ask_within, serve,
};
use upkeep_tests::fuzz;

use crate::host_of;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn spoilt_questions_are_survived_by_the_helper() {
    let folder = tempfile::tempdir().unwrap();
    let host = host_of(folder.path());
    let me = rustix::process::geteuid().as_raw();
    let permissions = Permissions { verbs: vec![Verb::Dmi], users: vec![me] };
    let good = b"{\"version\":1,\"verb\":\"dmi\"}\n";
    fuzz::survive("helper's questions", 32, &fuzz::spoils(), |spoils| {
        let (mut asking, answering) = UnixStream::pair().unwrap();
        asking.write_all(&fuzz::spoilt(good, &spoils)).unwrap();
        asking.shutdown(Shutdown::Write).unwrap();
        // Nothing but what may be asked is answered, whatever the question.
        if let Ok(verb) = serve(&answering, &host, &permissions) {
            assert_eq!(verb, Verb::Dmi);
        }
    });
}

/// An answer to each verb, with something of everything.
fn answers() -> Vec<(Verb, Vec<u8>)> {
    let disk = SmartOutput { device: "/dev/sda".into(), exit: Some(0), ..SmartOutput::default() };
    let zone = EnergyZone { zone: "intel-rapl:0".into(), energy_uj: 7, ..EnergyZone::default() };
    let process = StaleProcess { pid: 9, files: vec!["/lib/x".into()], ..StaleProcess::default() };
    let all = [
        Answer::Smart(SmartAnswer { devices: vec![disk], ..SmartAnswer::default() }),
        Answer::Dmi(DmiAnswer {
            fields: [("product_uuid".into(), "4c".into())].into(),
            ..DmiAnswer::default()
        }),
        Answer::Energy(EnergyAnswer { zones: vec![zone], ..EnergyAnswer::default() }),
        Answer::Restarts(RestartsAnswer { processes: vec![process], ..RestartsAnswer::default() }),
    ];
    let document = |answer: Answer| {
        (answer.verb(), json!({"version": 1, "answer": answer}).to_string().into_bytes())
    };
    all.map(document).to_vec()
}

#[test]
fn spoilt_answers_are_survived_by_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("helper.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let cases = (prop::sample::select(answers()), fuzz::spoils());
    fuzz::survive("helper's answers", 48, &cases, |((verb, good), spoils)| {
        let document = fuzz::spoilt(&good, &spoils);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = String::new();
                BufReader::new(&stream).read_line(&mut question).unwrap();
                // An agent that has seen enough does not wait for the rest.
                let _ = stream.write_all(&document);
            });
            // What comes answers what was asked, or is none.
            if let Ok(answer) = ask_within(&socket, verb, SOON) {
                assert_eq!(answer.verb(), verb);
            }
        });
    });
}
