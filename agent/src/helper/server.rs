//! The helper's side of the socket: who asks, what may be answered, one answer.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::client::MAX_REPLY_BYTES;
use super::exchange::{Deadline, read_line, write_all};
use super::{AGENT_USER, Answer, HelperError, Reply, Request, Verb};
use crate::host::{Host, HostError};

/// More than the longest honest question has, in bytes.
const MAX_REQUEST_BYTES: usize = 256;

/// How long the question may take to come, and the answer to be fetched.
const EXCHANGE_TIME: Duration = Duration::from_secs(5);

/// Who may ask for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The verbs that the administrator has not switched off.
    pub verbs: Vec<Verb>,
    /// The users who may ask, by their numbers.
    pub users: Vec<u32>,
}

impl Permissions {
    /// What the host's users and the configuration permit: root may ask, and the agent's user.
    ///
    /// # Errors
    /// When the list of users cannot be read.
    pub fn of(host: &Host, verbs: Vec<Verb>) -> Result<Self, HostError> {
        let agent = host.user(AGENT_USER)?;
        let users = std::iter::once(0).chain(agent.map(|user| user.id)).collect();
        Ok(Self { verbs, users })
    }
}

/// Answers one question. A refusal is told to whoever asks, and returned.
///
/// # Errors
/// When the question was refused or has no answer, or the answer could not be delivered.
pub fn serve(
    stream: &UnixStream,
    host: &Host,
    permissions: &Permissions,
) -> Result<Verb, HelperError> {
    let outcome = admit(stream, permissions).and_then(|verb| within_deadline(host, verb));
    let mut document = Reply::document(&outcome)?;
    if document.len() > MAX_REPLY_BYTES {
        let limit = MAX_REPLY_BYTES;
        let reason = format!("the answer has {} bytes, more than {limit}", document.len());
        document = Reply::document(&Err(HelperError::Failed(reason)))?;
    }
    write_all(stream, &document, Deadline::after(EXCHANGE_TIME))?;
    outcome.map(|answer| answer.verb())
}

/// The verb, if the one who asks may ask for it. The question is taken from a stranger too: with
/// one that was not, the connection would be reset instead of the reason told.
fn admit(stream: &UnixStream, permissions: &Permissions) -> Result<Verb, HelperError> {
    let line = read_line(stream, MAX_REQUEST_BYTES, Deadline::after(EXCHANGE_TIME))?;
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(std::io::Error::from)?;
    let user = peer.uid.as_raw();
    if !permissions.users.contains(&user) {
        return Err(HelperError::Refused(format!("user {user} may not ask")));
    }
    let verb = Request::parse(&line)?;
    if permissions.verbs.contains(&verb) {
        Ok(verb)
    } else {
        Err(HelperError::Refused(format!("{verb} is switched off in the configuration")))
    }
}

/// Answers on a thread of its own: a disk that hangs in the kernel is left behind, and the process
/// ends with the answer that tells so.
fn within_deadline(host: &Host, verb: Verb) -> Result<Answer, HelperError> {
    let (sender, receiver) = sync_channel(1);
    let host = host.clone();
    thread::Builder::new().name(verb.name().to_owned()).spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = sender.send(verb.answer(&host));
    })?;
    match receiver.recv_timeout(verb.deadline()) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            let seconds = verb.deadline().as_secs();
            Err(HelperError::Failed(format!("{verb}: there was no answer within {seconds} s")))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(HelperError::Failed(format!("{verb}: reading the answer panicked")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::helper::client;
    use crate::host::tests::host_with;

    /// A user that no file of the system belongs to.
    const STRANGER: u32 = 65_534;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// A host with next to nothing, and a socket in its folder.
    fn host() -> (tempfile::TempDir, Host) {
        host_with(&[("sys/class/dmi/id/product_uuid", b"4c4c4544\n")])
    }

    /// What the helper makes of one visitor at a real socket, and what the visitor makes of it.
    fn meet<T: Send + 'static>(
        users: &[u32],
        verbs: &[Verb],
        visit: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> (Result<Verb, HelperError>, T) {
        let (folder, host) = host();
        let socket = folder.path().join("helper.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let visitor = thread::spawn(move || visit(&socket));
        let (stream, _) = listener.accept().unwrap();
        let permissions = Permissions { verbs: verbs.into(), users: users.into() };
        let served = serve(&stream, &host, &permissions);
        drop(stream);
        (served, visitor.join().unwrap())
    }

    fn ask_for_dmi(socket: &Path) -> Result<Answer, HelperError> {
        client::ask(socket, Verb::Dmi)
    }

    #[test]
    fn the_agent_is_answered() {
        let (served, answer) = meet(&[me()], &Verb::ALL, ask_for_dmi);
        assert_eq!(served.unwrap(), Verb::Dmi);
        let Answer::Dmi(dmi) = answer.unwrap() else { panic!("another verb") };
        assert_eq!(dmi.fields["product_uuid"], "4c4c4544");
    }

    #[test]
    fn what_is_absent_is_told_as_absent() {
        let ask = |socket: &Path| client::ask(socket, Verb::Restarts);
        let (served, answer) = meet(&[me()], &Verb::ALL, ask);
        assert!(served.unwrap_err().is_absent());
        assert!(answer.unwrap_err().is_absent());
    }

    #[test]
    fn strangers_and_switched_off_verbs_are_refused_with_the_reason() {
        let check = |users: &[u32], verbs: &[Verb], expect: &str| {
            let (served, answer) = meet(users, verbs, ask_for_dmi);
            for error in [served.unwrap_err(), answer.unwrap_err()] {
                assert!(matches!(error, HelperError::Refused(_)), "{error}");
                assert!(error.to_string().contains(expect), "{error}");
            }
        };
        check(&[me() + 1], &Verb::ALL, &format!("user {} may not ask", me()));
        check(&[me()], &[Verb::Smart], "dmi is switched off in the configuration");
    }

    #[test]
    fn a_real_stranger_is_known_by_the_kernel() {
        if me() != 0 {
            eprintln!("skipped: only root can become another user");
            return;
        }
        let (served, answer) = meet(&[0], &Verb::ALL, |socket| {
            let open = |path: &Path, mode| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(path, mode).unwrap();
            };
            open(socket.parent().unwrap(), 0o755);
            open(socket, 0o666);
            // Of this thread alone: the kernel keeps users by thread.
            let stranger = rustix::thread::Uid::from_raw(STRANGER);
            rustix::thread::set_thread_res_uid(stranger, stranger, stranger).unwrap();
            ask_for_dmi(socket)
        });
        let expect = format!("user {STRANGER} may not ask");
        assert!(served.unwrap_err().to_string().contains(&expect));
        assert!(answer.unwrap_err().to_string().contains(&expect));
    }

    #[test]
    fn questions_that_are_none_are_refused() {
        let check = |question: &'static [u8], expect: &str| {
            let (served, reply) = meet(&[me()], &Verb::ALL, move |socket| {
                let mut stream = UnixStream::connect(socket).unwrap();
                stream.write_all(question).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut reply = String::new();
                // What was not read when the helper ended resets the connection.
                stream.read_to_string(&mut reply).map(|_| reply).unwrap_or_default()
            });
            let error = served.unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert!(reply.is_empty() || reply.contains("refused"), "{reply}");
        };
        check(b"{\"version\":1,\"verb\":\"shell\"}\n", "unknown variant `shell`");
        check(b"{\"version\":1,\"verb\":\"dmi\"}", "the line has no end");
        check(b"\n", "EOF while parsing");
        check(b"\xff\xfe\n", "expected value");
        check(&[b' '; MAX_REQUEST_BYTES + 1], "sent more than 256 bytes");
        check(b"", "the line has no end");
    }

    #[test]
    fn neither_side_waits_for_ever() {
        let begun = Instant::now();
        // A drop now and then does not make the time longer.
        let (served, ()) = meet(&[me()], &Verb::ALL, |socket| {
            let mut stream = UnixStream::connect(socket).unwrap();
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        assert!(matches!(served, Err(HelperError::Deadline { .. })), "{served:?}");
        assert!(begun.elapsed() < EXCHANGE_TIME * 3, "{:?}", begun.elapsed());

        let (folder, _host) = host();
        let socket = folder.path().join("silent.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = client::ask_within(&socket, Verb::Dmi, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, HelperError::Deadline { .. }), "{error}");
    }

    #[test]
    fn without_a_socket_the_way_to_switch_it_on_is_told() {
        for verb in Verb::ALL {
            let socket = Path::new("/nonexistent").join(verb.socket().file_name().unwrap());
            let error = client::ask(&socket, verb).unwrap_err().to_string();
            let unit = if verb == Verb::Clock { "clock" } else { "helper" };
            assert!(error.contains(&format!("enable upkeep-agent-{unit}.socket")), "{error}");
        }
    }

    #[test]
    fn root_and_the_agents_user_may_ask() {
        let (folder, host) = host();
        let check = |expect: &[u32]| {
            assert_eq!(Permissions::of(&host, Vec::new()).unwrap().users, expect);
        };
        check(&[0]);
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let users = "root:x:0:0::/:/bin/sh\nupkeep-agent:x:998:997::/:\n";
        std::fs::write(folder.path().join("etc/passwd"), users).unwrap();
        check(&[0, 998]);
    }
}
