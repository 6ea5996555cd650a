//! Labels and annotations that want to be more than texts, in the messages of all channels.

use upkeep_model::Labels;

use super::*;

/// Texts that mean something to somebody: to templates, HTML, Slack, JSON, shells, mail, terminals.
const TEXTS: [&str; 10] = [
    "{{ query \"up\" }}{% raw %}{{ .Labels }}",
    "<script>alert(1)</script><img src=x onerror=alert(1)></b></a>",
    "<!channel> <@U1> <https://evil.example|click> @everyone",
    "[click](https://evil.example) **bold** <at>all</at>",
    "\"}], \"routing_key\": \"x\", \"a\": [{\"b\": \"",
    "$(touch /tmp/x) `id` ; rm -rf / && '\"",
    "x\r\nBcc: victim@example.org\r\n\r\n.\r\nQUIT",
    "\u{1b}[2J\u{7}\0\u{8}\u{7f}\u{85}\u{9b}31m",
    "\u{202e}gpj.exe\u{202c}\u{2066}\u{200b}\u{feff}\u{e0041}\u{2028}\u{2029}",
    "javascript:alert(document.cookie)",
];

/// A group whose every text is the given one.
fn hostile(text: &str) -> Notification {
    let mut notification = sample();
    notification.receiver = text.to_owned();
    notification.group_key = format!("{{}}:{{alertname={text:?}}}");
    notification.group_labels = Labels::new([("alertname", text)]);
    for alert in &mut notification.alerts {
        for name in ["alertname", "instance", "severity", text] {
            alert.labels.set(name, text);
        }
        for name in [ACTION, OUTCOME, OWNER, RUNBOOK_URL, "summary", text] {
            alert.annotations.set(name, text);
        }
        alert.generator_url = text.into();
    }
    notification
}

/// Everything that a message consists of beside its texts: keys, and how many of what; texts, if they
/// are to be looked at.
fn shape(value: &Value, texts: &mut Vec<String>) -> String {
    match value {
        Value::Object(entries) => {
            let inner = entries.iter().map(|(key, value)| format!("{key}:{}", shape(value, texts)));
            format!("{{{}}}", inner.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let inner: Vec<_> = items.iter().map(|item| shape(item, texts)).collect();
            format!("[{}]", inner.join(","))
        }
        Value::String(text) => {
            texts.push(text.clone());
            "text".to_owned()
        }
        _ => "value".to_owned(),
    }
}

/// What the message of each kind of channel is for a group; those for programs, which get texts as they
/// are, are left out.
async fn messages(notification: &Notification) -> Vec<(String, Value)> {
    let messages = Mutex::new(Vec::new());
    each(Vec::new, async |kind, channel, service| {
        channel.send(notification).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        if kind != "webhook" {
            messages.lock().unwrap().push((kind.to_owned(), service.message()));
        }
    })
    .await;
    messages.into_inner().unwrap()
}

#[tokio::test]
async fn hostile_texts_stay_texts_in_every_channel() {
    // Details of PagerDuty are named as labels are, so the harmless name stands for the hostile one.
    let harmless = messages(&hostile("harmless")).await;
    for text in TEXTS {
        for ((kind, message), (_, expect)) in messages(&hostile(text)).await.iter().zip(&harmless) {
            let mut texts = Vec::new();
            let mut found = shape(message, &mut texts);
            if kind == "pagerduty" {
                let name = text::one_line(text, 100);
                found = found.replace(&format!("{name}:text"), "harmless:text");
                let mut sorted = [found, shape(expect, &mut Vec::new())].map(|shape| {
                    let mut parts: Vec<_> =
                        shape.split([',', '{', '}']).map(str::to_owned).collect();
                    parts.sort();
                    parts
                });
                let expect = sorted[1].clone();
                assert_eq!(std::mem::take(&mut sorted[0]), expect, "{kind}: {text:?}");
            } else {
                assert_eq!(found, shape(expect, &mut Vec::new()), "{kind}: {text:?}");
            }
            for shown in texts {
                let is_clean = |character: char| {
                    character == '\n'
                        || !(character.is_control()
                            || ('\u{2028}'..='\u{202e}').contains(&character)
                            || ['\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}']
                                .contains(&character))
                };
                assert!(shown.chars().all(is_clean), "{kind}: {shown:?}");
                if kind == "slack" {
                    let tags = shown.matches('<').count();
                    assert!(tags == 0 && !shown.contains("<!"), "{shown}");
                }
                if kind == "telegram" {
                    let known = ["<b>", "</b>", "<a href=\"https://upkeep.example.org/\">", "</a>"];
                    let rest = known.iter().fold(shown.clone(), |text, tag| text.replace(tag, ""));
                    assert!(!rest.contains('<') && !rest.contains('>'), "{shown}");
                }
            }
        }
    }
}

#[tokio::test]
async fn large_texts_make_no_large_messages() {
    for text in ["x".repeat(1_000_000), "\u{1F525}\n".repeat(200_000), "<&>\"".repeat(250_000)] {
        let mut notification = hostile(&text);
        notification.alerts = vec![notification.alerts[0].clone(); 3];
        for (kind, message) in messages(&notification).await {
            let bytes = message.to_string().len();
            let limit = match kind.as_str() {
                "pagerduty" => 512_000,
                "msteamsv2" => 28_000,
                _ => 40_000,
            };
            assert!(bytes < limit, "{kind}: {bytes} bytes");
        }
    }
}
