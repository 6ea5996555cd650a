use super::*;
use crate::notify::ChannelSettings;
use crate::notify::notification::sample;
use crate::notify::tests::{Service, TOKEN, local, secret};

pub(in crate::notify) fn settings(url: &str, http: HttpSettings) -> ChannelSettings {
    ChannelSettings::PagerDuty(Box::new(plain(url, http)))
}

fn plain(url: &str, http: HttpSettings) -> PagerDutySettings {
    PagerDutySettings {
        url: url.to_owned(),
        routing_key: secret(TOKEN),
        severity: None,
        fixed: BTreeMap::new(),
        send_resolved: true,
        http,
    }
}

fn event(settings: PagerDutySettings, notification: &Notification) -> Value {
    PagerDuty::new(settings).unwrap().event(notification, "key")
}

#[tokio::test]
async fn an_incident_is_triggered_and_resolved() {
    let service = Service::start((202, "{}"), Vec::new()).await;
    let url = format!("http://{}/v2/enqueue", service.address);
    let pagerduty = PagerDuty::new(plain(&url, local())).unwrap();
    let mut notification = sample();
    let annotations = &mut notification.alerts[0].annotations;
    annotations.set("runbook_url", "https://x.org/down");
    pagerduty.send(&notification).await.unwrap();
    notification.alerts.remove(0);
    pagerduty.send(&notification).await.unwrap();
    let got = service.got();
    let [(_, first), (_, second)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(
        (&first["event_action"], &second["event_action"]),
        (&"trigger".into(), &"resolve".into())
    );
    // Alertmanager's name of the same group.
    let name = data_encoding::HEXLOWER.encode(&Sha256::digest("{}:{alertname=\"HostDown\"}"));
    assert_eq!((&first["dedup_key"], &second["dedup_key"]), (&name.clone().into(), &name.into()));
    assert_eq!(first["routing_key"], TOKEN);
    assert_eq!(first["client_url"], "https://upkeep.example.org/");
    let payload = &first["payload"];
    assert_eq!(payload["summary"], "[FIRING:1] HostDown (critical)");
    assert_eq!(
        (&payload["severity"], &payload["source"]),
        (&"critical".into(), &"https://upkeep.example.org/".into())
    );
    assert_eq!(payload["timestamp"], "2023-11-14T22:13:20.25Z");
    let details = &payload["custom_details"];
    assert_eq!((&details["num_firing"], &details["num_resolved"]), (&1.into(), &1.into()));
    assert_eq!(details["firing"][0]["do"], "look whether it runs");
    assert_eq!(details["firing"][0]["labels"]["instance"], "web1");
    assert_eq!(
        first["links"][0],
        json!({"href": "https://x.org/down", "text": "Runbook of HostDown"})
    );
    assert_eq!(second["payload"]["source"], "web2");
}

#[test]
fn what_is_fixed_goes_where_it_belongs_and_severities_are_those_of_the_service() {
    let mut settings = plain("https://x.org", local());
    let fixed = [
        ("client", "us"),
        ("client_url", "https://y.org"),
        ("class", "c"),
        ("group", "g"),
        ("component", "k"),
        ("source", "s"),
    ];
    settings.fixed = fixed.into_iter().map(|(key, text)| (key, text.to_owned())).collect();
    let found = event(settings.clone(), &sample());
    assert_eq!((&found["client"], &found["client_url"]), (&"us".into(), &"https://y.org".into()));
    for (key, text) in [("class", "c"), ("group", "g"), ("component", "k"), ("source", "s")] {
        assert_eq!(found["payload"][key], text);
    }
    let mut check = |set: Option<&str>, label: &str, expect: &str| {
        settings.severity = set.map(str::to_owned);
        let mut notification = sample();
        notification.alerts.iter_mut().for_each(|alert| alert.labels.set("severity", label));
        let found = event(settings.clone(), &notification);
        assert_eq!(found["payload"]["severity"], expect, "{set:?} {label}");
    };
    check(None, "warning", "warning");
    check(None, "page", "error");
    check(Some("info"), "critical", "info");
    check(Some("loud"), "critical", "error");
}

#[test]
fn an_event_stays_below_what_the_service_takes() {
    let mut notification = sample();
    let mut alert = notification.alerts[0].clone();
    for at in 0..60 {
        alert.annotations.set(&format!("note {at}"), &"\"\\".repeat(2_000));
    }
    notification.alerts = vec![alert; 200];
    let event = event(plain("https://x.org", local()), &notification);
    assert!(event.to_string().len() < 512_000, "{} bytes", event.to_string().len());
    assert!(event["payload"]["custom_details"]["not_shown"].as_u64().unwrap() > 0);
}
