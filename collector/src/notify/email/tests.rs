use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::notify::notification::sample;

/// What a mail server heard: the commands, and the messages.
#[derive(Default)]
struct Heard {
    commands: Vec<String>,
    messages: Vec<String>,
}

/// A mail server that offers STARTTLS if it has a certificate.
struct Server {
    port: u16,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `recipient` is what the server answers when it is told who the mail is for.
    async fn start(has_tls: bool, recipient: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key)
                .unwrap();
        let acceptor = has_tls.then(|| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"220 test\r\n").await.unwrap();
                let offers = acceptor.is_some();
                let wants_tls = talk(&mut stream, &shared, offers, recipient).await;
                if let (true, Some(acceptor)) = (wants_tls, &acceptor)
                    && let Ok(mut stream) = acceptor.accept(stream).await
                {
                    talk(&mut stream, &shared, false, recipient).await;
                }
            }
        });
        Self { port, heard, task, folder }
    }

    fn settings(&self) -> EmailSettings {
        EmailSettings {
            to: "ops@example.org, Night Shift <night@example.org>".parse().unwrap(),
            from: "Upkeep <upkeep@example.org>".parse().unwrap(),
            host: "localhost".to_owned(),
            port: self.port,
            hello: Some("upkeep.example.org".to_owned()),
            require_tls: true,
            credentials: None,
            ca_file: Some(self.folder.path().join("ca.pem")),
            send_resolved: true,
        }
    }

    fn commands(&self) -> Vec<String> {
        self.heard.lock().unwrap().commands.clone()
    }

    fn message(&self) -> String {
        self.heard.lock().unwrap().messages[0].clone()
    }
}

/// One conversation; `true` if the client wants to go on in TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    heard: &Mutex<Heard>,
    offers_tls: bool,
    recipient: &str,
) -> bool {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return false;
        }
        let command = line.trim_end().to_owned();
        heard.lock().unwrap().commands.push(command.clone());
        let answer = match command.split_whitespace().next().unwrap_or_default() {
            "EHLO" if offers_tls => "250-test\r\n250 STARTTLS",
            "EHLO" => "250-test\r\n250 AUTH PLAIN",
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await.unwrap();
                return true;
            }
            "AUTH" => "235 ok",
            "RCPT" => recipient,
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.unwrap();
                let message = read_message(&mut stream).await;
                heard.lock().unwrap().messages.push(message);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
    }
}

async fn read_message<S: AsyncBufReadExt + Unpin>(stream: &mut S) -> String {
    let mut message = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line == ".\r\n" {
            return message;
        }
        message.push_str(&line);
    }
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    let line = message.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("no {name} in {message}")).trim_start_matches(&start)
}

#[tokio::test]
async fn a_message_goes_by_tls_to_everybody_with_what_to_do() {
    let server = Server::start(true, "250 ok").await;
    let mut settings = server.settings();
    let password = server.folder.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    settings.credentials = Some(("upkeep".to_owned(), Secret::File(password)));
    let answer = Email::new(settings).unwrap().send(&sample()).await.unwrap();
    assert_eq!(answer, "250: taken");
    let commands = server.commands();
    let at = |start: &str| commands.iter().position(|command| command.starts_with(start)).unwrap();
    assert!(at("STARTTLS") < at("AUTH PLAIN") && at("STARTTLS") < at("MAIL"), "{commands:?}");
    assert_eq!(commands.iter().filter(|command| command.starts_with("RCPT")).count(), 2);
    assert!(commands[at("EHLO")].ends_with("upkeep.example.org"));

    let message = server.message();
    assert_eq!(header(&message, "Subject"), "[FIRING:1] HostDown (critical)");
    assert_eq!(header(&message, "References"), header(&message, "In-Reply-To"));
    assert!(header(&message, "References").starts_with("<group-"));
    assert_eq!(header(&message, "Auto-Submitted"), "auto-generated");
    assert!(message.contains("multipart/alternative"));
    assert!(message.contains("DO: look whether it runs"), "{message}");
    assert!(message.contains("SO THAT: it reports again"));
    assert!(message.contains("<b>SO THAT:</b> it reports again"));
}

#[tokio::test]
async fn the_runbook_is_a_link_and_the_owner_is_shown() {
    let server = Server::start(true, "250 ok").await;
    let mut notification = sample();
    let set = |notification: &mut Notification, name: &str, text: &str| {
        notification.alerts[0].annotations.set(name, text);
    };
    set(&mut notification, "runbook_url", "https://x.org/down");
    set(&mut notification, "owner", "team hosts");
    let email = Email::new(server.settings()).unwrap();
    email.send(&notification).await.unwrap();
    set(&mut notification, "runbook_url", "javascript:alert(1)");
    email.send(&notification).await.unwrap();
    // Long lines are broken by the mail's encoding.
    let plain = |message: &String| message.replace("=\r\n", "").replace("=3D", "=");
    let messages: Vec<_> = server.heard.lock().unwrap().messages.iter().map(plain).collect();
    for expect in [
        "Runbook: https://x.org/down",
        "<a href=\"https:&#x2f;&#x2f;x.org&#x2f;down\">Runbook</a>",
        "Owner: team hosts",
        "<b>Owner:</b> team hosts",
    ] {
        assert!(messages[0].contains(expect), "{expect} is not in {}", messages[0]);
    }
    assert!(messages[1].contains("runbook_url: javascript:alert(1)"), "{}", messages[1]);
    assert!(!messages[1].contains("href=\"javascript"), "{}", messages[1]);
}

#[tokio::test]
async fn without_tls_nothing_is_sent_unless_it_is_allowed() {
    let server = Server::start(false, "250 ok").await;
    let mut settings = server.settings();
    let error = Email::new(settings.clone()).unwrap().send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert!(server.commands().iter().all(|command| !command.starts_with("MAIL")));
    settings.require_tls = false;
    Email::new(settings).unwrap().send(&sample()).await.unwrap();
    assert_eq!(server.heard.lock().unwrap().messages.len(), 1);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let server = Server::start(true, "250 ok").await;
    let mut settings = server.settings();
    settings.ca_file = None;
    let error = Email::new(settings).unwrap().send(&sample()).await.unwrap_err();
    assert!(error.to_string().contains("ertificate"), "{error}");
    assert!(server.commands().iter().all(|command| !command.starts_with("MAIL")));
}

#[tokio::test]
async fn refusals_for_good_and_for_now_are_told_apart() {
    let check = async |answer: &'static str, is_permanent: bool| {
        let server = Server::start(true, answer).await;
        let error = Email::new(server.settings()).unwrap().send(&sample()).await.unwrap_err();
        assert_eq!(error.is_permanent(), is_permanent, "{error}");
    };
    check("550 nobody of that name", true).await;
    check("451 try later", false).await;
}

#[tokio::test]
async fn hostile_texts_change_no_message() {
    let server = Server::start(true, "250 ok").await;
    let mut notification = sample();
    notification.group_labels.set("alertname", "x\r\nBcc: victim@example.org\r\n\r\nbody");
    let alert = &mut notification.alerts[0];
    alert.labels.set("instance", "<script>alert(1)</script>\r\n.\r\nQUIT\r\n");
    alert.annotations.set("action", &"<img src=x>\u{0}".repeat(1_000));
    alert.annotations.set("summary", "{{ message.title }}{% raw %}");
    let email = Email::new(server.settings()).unwrap();
    email.send(&notification).await.unwrap();
    let message = server.message();
    let (headers, body) = message.split_once("\r\n\r\n").unwrap();
    assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
    assert!(server.commands().iter().all(|command| !command.contains("victim")));
    let html = body.split("text/html").nth(1).unwrap();
    assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
    assert!(html.contains("&lt;script&gt;") && html.contains("{{ message.title }}"), "{html}");
    assert!(message.len() < 60_000, "texts are cut: {} bytes", message.len());
}

#[test]
fn a_group_has_one_thread_and_others_have_others() {
    assert_eq!(thread("a", "x"), thread("a", "x"));
    assert_ne!(thread("a", "x"), thread("b", "x"));
}
