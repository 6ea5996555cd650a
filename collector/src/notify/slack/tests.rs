use super::*;
use crate::notify::ChannelSettings;
use crate::notify::notification::sample;
use crate::notify::tests::{Service, local, secret};

pub(in crate::notify) fn settings(url: &str, http: HttpSettings) -> ChannelSettings {
    ChannelSettings::Slack(Box::new(plain(url, http)))
}

fn plain(url: &str, http: HttpSettings) -> SlackSettings {
    SlackSettings {
        url: secret(url),
        channel: None,
        username: None,
        icon_emoji: None,
        icon_url: None,
        send_resolved: true,
        http,
    }
}

#[tokio::test]
async fn the_message_is_an_attachment_with_links() {
    let service = Service::start((200, "ok"), Vec::new()).await;
    let mut settings = plain(&format!("http://{}/hook", service.address), local());
    settings.channel = Some("#ops".to_owned());
    settings.username = Some("upkeep".to_owned());
    let mut notification = sample();
    notification.alerts.truncate(1);
    notification.alerts[0].annotations.set("runbook_url", "https://x.org/a?b&c");
    Slack::new(settings).unwrap().send(&notification).await.unwrap();
    let expect = json!({
        "channel": "#ops",
        "username": "upkeep",
        "attachments": [{
            "color": "danger",
            "fallback": "[FIRING:1] HostDown (web1 critical)",
            "title": "[FIRING:1] HostDown (web1 critical)",
            "title_link": "https://upkeep.example.org/",
            "mrkdwn_in": ["text"],
            "text": "*FIRING: HostDown on web1, since 2023-11-14 22:13:20 UTC*\n\
                     DO: look whether it runs\n\
                     SO THAT: it reports again\n\
                     summary: web1 is silent\n\
                     <https://x.org/a?b&amp;c|runbook>\n\
                     <https://upkeep.example.org/graph?g0.expr=up|rule>\n\
                     severity: critical",
        }],
    });
    assert_eq!(service.message(), expect);
}

#[tokio::test]
async fn an_answer_of_the_method_is_read() {
    let check = async |text: &'static str, expect: Option<(u16, bool)>| {
        let service = Service::start((200, text), Vec::new()).await;
        let url = format!("http://{}/api/chat.postMessage", service.address);
        let sent = Slack::new(plain(&url, local())).unwrap().send(&sample()).await;
        let found = sent.err().map(|error| match error {
            NotifyError::Answer { status, .. } => (status, error.is_permanent()),
            other => panic!("{other}"),
        });
        assert_eq!(found, expect, "{text}");
    };
    check(r#"{"ok":true,"channel":"C1"}"#, None).await;
    check("ok", None).await;
    check("[1, 2", None).await;
    check(r#"{"ok":false,"error":"channel_not_found"}"#, Some((400, true))).await;
    check(r#"{"ok":false,"error":"invalid_auth"}"#, Some((400, true))).await;
    check(r#"{"ok":false}"#, Some((400, true))).await;
    check(r#"{"ok":false,"error":"ratelimited"}"#, Some((429, false))).await;
    check(r#"{"ok":false,"error":"internal_error"}"#, Some((503, false))).await;
}
