use super::*;
use crate::notify::ChannelSettings;
use crate::notify::notification::sample;
use crate::notify::tests::{Service, TOKEN, local, secret};

pub(in crate::notify) fn settings(url: &str, http: HttpSettings) -> ChannelSettings {
    ChannelSettings::Telegram(Box::new(plain(url, http)))
}

fn plain(url: &str, http: HttpSettings) -> TelegramSettings {
    TelegramSettings {
        url: url.to_owned(),
        token: secret(TOKEN),
        chat: secret("-100123"),
        thread: None,
        is_silent: false,
        send_resolved: true,
        http,
    }
}

#[tokio::test]
async fn the_message_is_html_to_a_chat() {
    let service = Service::start((200, r#"{"ok":true}"#), Vec::new()).await;
    let mut settings = plain(&format!("http://{}/", service.address), local());
    settings.thread = Some(7);
    settings.is_silent = true;
    let mut notification = sample();
    notification.alerts.truncate(1);
    let annotations = &mut notification.alerts[0].annotations;
    annotations.set("summary", "a <b> & c");
    annotations.set("runbook_url", "https://x.org/?a&b");
    Telegram::new(settings).unwrap().send(&notification).await.unwrap();
    let got = service.got();
    assert_eq!(got[0].0, format!("/bot{TOKEN}/sendMessage"));
    let expect = json!({
        "chat_id": -100_123,
        "message_thread_id": 7,
        "parse_mode": "HTML",
        "disable_notification": true,
        "link_preview_options": { "is_disabled": true },
        "text": "<b><a href=\"https://upkeep.example.org/\">[FIRING:1] HostDown (web1 critical)</a></b>\n\n\
                 <b>FIRING: HostDown on web1, since 2023-11-14 22:13:20 UTC</b>\n\
                 DO: look whether it runs\n\
                 SO THAT: it reports again\n\
                 summary: a &lt;b&gt; &amp; c\n\
                 <a href=\"https://x.org/?a&amp;b\">runbook</a>\n\
                 <a href=\"https://upkeep.example.org/graph?g0.expr=up\">rule</a>\n\
                 severity: critical",
    });
    assert_eq!(got[0].1, expect);
}

#[tokio::test]
async fn the_answer_says_how_long_to_wait() {
    const LIMIT: &str = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 42",
        "parameters":{"retry_after":42}}"#;
    let service = Service::start((200, r#"{"ok":true}"#), vec![(429, None, LIMIT)]).await;
    let telegram = Telegram::new(plain(&format!("http://{}", service.address), local())).unwrap();
    let error = telegram.send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("429"), "{error}");
    let error = telegram.send(&sample()).await.unwrap_err();
    assert!(matches!(error, NotifyError::Silence { seconds: 40..=42, .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_behind_a_success_is_a_refusal() {
    let text = r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#;
    let service = Service::start((200, text), Vec::new()).await;
    let telegram = Telegram::new(plain(&format!("http://{}", service.address), local())).unwrap();
    let error = telegram.send(&sample()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("chat not found"), "{error}");
}

#[test]
fn a_message_stays_below_what_the_service_takes() {
    let mut notification = sample();
    notification.alerts[0].annotations.set("note", &"\u{1F525}".repeat(5_000));
    notification.alerts = vec![notification.alerts[0].clone(); 100];
    let text = text(&notification);
    let units: usize = text.chars().map(char::len_utf16).sum();
    assert!(units <= 4_096, "{units}");
    assert!(text.contains("more alerts"), "{text}");
}
