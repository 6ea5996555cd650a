use super::*;
use crate::notify::ChannelSettings;
use crate::notify::notification::sample;
use crate::notify::tests::{Service, local, secret};

pub(in crate::notify) fn settings(url: &str, http: HttpSettings) -> ChannelSettings {
    ChannelSettings::Teams(plain(url, http))
}

fn plain(url: &str, http: HttpSettings) -> TeamsSettings {
    TeamsSettings { url: secret(url), send_resolved: true, http }
}

#[tokio::test]
async fn the_message_is_a_card_whose_texts_are_no_markup() {
    let service = Service::start((202, ""), Vec::new()).await;
    let mut notification = sample();
    notification.alerts.truncate(1);
    let annotations = &mut notification.alerts[0].annotations;
    annotations.set("summary", "[click](https://evil.example)");
    annotations.set("runbook_url", "https://x.org/down");
    let settings = plain(&format!("http://{}/workflow", service.address), local());
    Teams::new(settings).unwrap().send(&notification).await.unwrap();
    let message = service.message();
    assert_eq!(message["type"], "message");
    let attachment = &message["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let body = attachment["content"]["body"].as_array().unwrap();
    // What cards read as markup are texts of blocks; runs of rich texts are not.
    assert!(body.iter().all(|block| block["type"] == "RichTextBlock"), "{message}");
    assert_eq!(body[0]["inlines"][0]["text"], "[FIRING:1] HostDown (web1 critical)");
    assert_eq!(body[0]["inlines"][0]["color"], "attention");
    let runs: Vec<_> = body[1]["inlines"].as_array().unwrap().iter().collect();
    let text: String = runs.iter().map(|run| run["text"].as_str().unwrap()).collect();
    assert_eq!(
        text,
        "FIRING: HostDown on web1, since 2023-11-14 22:13:20 UTC\n\
         DO: look whether it runs\n\
         SO THAT: it reports again\n\
         summary: [click](https://evil.example)\n\
         runbook\nrule\nseverity: critical"
    );
    let links: Vec<_> = runs.iter().filter_map(|run| run["selectAction"]["url"].as_str()).collect();
    assert_eq!(links, ["https://x.org/down", "https://upkeep.example.org/graph?g0.expr=up"]);
}

#[tokio::test]
async fn a_card_stays_below_what_the_service_takes() {
    let mut notification = sample();
    let mut alert = notification.alerts[0].clone();
    for at in 0..30 {
        alert.annotations.set(&format!("note {at}"), &"\u{1F525}\"".repeat(1_000));
    }
    notification.alerts = vec![alert; 100];
    let message = message(&notification).to_string();
    assert!(message.len() < 28_000, "{} bytes", message.len());
    assert!(message.contains("more alerts"), "{message}");
}

#[tokio::test]
async fn a_limit_inside_of_a_success_is_a_limit() {
    let text = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP \
                error 429 with ContextId x";
    let service = Service::start((200, text), Vec::new()).await;
    let settings = plain(&format!("http://{}/workflow", service.address), local());
    let error = Teams::new(settings).unwrap().send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("429"), "{error}");
}
