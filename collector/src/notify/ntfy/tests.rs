use super::*;
use crate::notify::ChannelSettings;
use crate::notify::notification::sample;
use crate::notify::tests::{Service, TOKEN, local, secret};

pub(in crate::notify) fn settings(url: &str, http: HttpSettings) -> ChannelSettings {
    ChannelSettings::Ntfy(Box::new(plain(url, http)))
}

fn plain(url: &str, http: HttpSettings) -> NtfySettings {
    NtfySettings {
        url: url.to_owned(),
        topic: secret(TOKEN),
        priority: None,
        tags: vec!["upkeep".to_owned()],
        send_resolved: true,
        http,
    }
}

#[tokio::test]
async fn the_message_goes_to_the_topic() {
    let service = Service::start((200, "{}"), Vec::new()).await;
    let mut notification = sample();
    notification.alerts.truncate(1);
    let annotations = &mut notification.alerts[0].annotations;
    annotations.set("runbook_url", "https://x.org/down");
    let settings = plain(&format!("http://{}", service.address), local());
    Ntfy::new(settings).unwrap().send(&notification).await.unwrap();
    let expect = json!({
        "topic": TOKEN,
        "title": "[FIRING:1] HostDown (web1 critical)",
        "priority": 5,
        "tags": ["rotating_light", "upkeep"],
        "click": "https://upkeep.example.org/",
        "actions": [{ "action": "view", "label": "Runbook", "url": "https://x.org/down" }],
        "message": "FIRING: HostDown on web1, since 2023-11-14 22:13:20 UTC\n\
                    DO: look whether it runs\n\
                    SO THAT: it reports again\n\
                    summary: web1 is silent\n\
                    runbook: https://x.org/down\n\
                    rule: https://upkeep.example.org/graph?g0.expr=up\n\
                    severity: critical",
    });
    assert_eq!(service.message(), expect);
}

#[test]
fn the_gravest_that_fires_says_how_loud() {
    let ntfy =
        |priority| Ntfy::new(NtfySettings { priority, ..plain("https://x.org", local()) }).unwrap();
    let check = |severities: &[&str], resolved: usize, set: Option<u8>, expect: u8| {
        let mut notification = sample();
        let alert = notification.alerts[0].clone();
        notification.alerts = vec![alert; severities.len()];
        for (alert, severity) in notification.alerts.iter_mut().zip(severities) {
            alert.labels.set("severity", *severity);
        }
        for alert in notification.alerts.iter_mut().take(resolved) {
            alert.ends_at_ms = Some(notification.at_ms);
        }
        let message = ntfy(set).message(&notification, "t");
        assert_eq!(message["priority"], expect, "{severities:?} {resolved}");
    };
    check(&["warning", "critical"], 0, None, 5);
    check(&["critical", "warning"], 1, None, 4);
    check(&["page"], 0, None, 3);
    check(&["critical"], 1, None, 2);
    check(&["critical"], 0, Some(1), 1);
}

#[test]
fn a_message_stays_below_what_the_server_takes() {
    let mut notification = sample();
    notification.alerts[0].annotations.set("note", &"\u{1F525}".repeat(5_000));
    notification.alerts = vec![notification.alerts[0].clone(); 100];
    let message = Ntfy::new(plain("https://x.org", local())).unwrap().message(&notification, "t");
    let text = message["message"].as_str().unwrap();
    assert!(text.len() <= 4_096 && text.contains("more alerts"), "{}", text.len());
}
