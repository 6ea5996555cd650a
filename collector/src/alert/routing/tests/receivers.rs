//! What receivers' sections say.

use super::*;
use crate::notify::{Authorization, Secret};

#[test]
fn receivers_are_read_whole() {
    let routing = read_text(
        "
global:
  smtp_smarthost: mail.example.org:587
  smtp_from: Upkeep <upkeep@example.org>
  smtp_auth_username: upkeep
  smtp_auth_password_file: /etc/upkeep/mail-password
route: {receiver: ops}
receivers:
  - name: ops
    webhook_configs:
      - url: https://hooks.example.org/secret
        max_alerts: 5
        send_resolved: false
        timeout: 3s
        http_config:
          authorization: {credentials_file: /etc/upkeep/hook-token}
          tls_config: {ca_file: /etc/upkeep/ca.pem}
      - url_file: /etc/upkeep/hook-url
    email_configs:
      - to: a@example.org, B <b@example.org>
        send_resolved: true
      - to: c@example.org
        smarthost: localhost
        auth_username: local
        auth_password: secret
        require_tls: false
",
    )
    .unwrap();
    let [
        ChannelSettings::Webhook(first),
        ChannelSettings::Webhook(second),
        ChannelSettings::Email(mail),
        ChannelSettings::Email(local),
    ] = &routing.receivers[0].channels[..]
    else {
        panic!("{routing:?}")
    };
    assert_eq!(first.url, Secret::Inline("https://hooks.example.org/secret".to_owned()));
    assert_eq!(
        (first.max_alerts, first.send_resolved, first.http.timeout.as_secs()),
        (5, false, 3)
    );
    let credentials = Secret::File(PathBuf::from("/etc/upkeep/hook-token"));
    let header = Authorization::Header { scheme: "Bearer".to_owned(), credentials };
    assert_eq!(first.http.authorization, Some(header));
    assert_eq!(first.http.ca_file, Some(PathBuf::from("/etc/upkeep/ca.pem")));
    assert!(second.send_resolved && second.http.authorization.is_none());
    assert_eq!((mail.host.as_str(), mail.port, mail.require_tls), ("mail.example.org", 587, true));
    assert_eq!(mail.to.iter().count(), 2);
    assert!(mail.send_resolved && mail.credentials.is_some());
    assert_eq!((local.host.as_str(), local.port, local.require_tls), ("localhost", 25, false));
    assert!(!format!("{routing:?}").contains("hooks.example.org"), "secrets show nowhere");
}

const RECEIVERS: &str = "
global:
  slack_api_url_file: /etc/upkeep/slack-url
  pagerduty_url: https://events.eu.pagerduty.com/v2/enqueue
  telegram_api_url: https://telegram.example.org
  telegram_bot_token: hidden-token
route: {receiver: ops}
receivers:
  - name: ops
    slack_configs:
      - channel: '#ops'
        username: upkeep
        icon_emoji: ':fire:'
        title: '{{ .CommonLabels.alertname }}'
      - api_url: https://hooks.slack.com/services/hidden
        channel: '#{{ .GroupLabels.team }}'
        send_resolved: true
    msteamsv2_configs:
      - webhook_url_file: /etc/upkeep/teams-url
        http_config: {proxy_url: 'http://proxy:3128', tls_config: {server_name: x}}
    pagerduty_configs:
      - routing_key: hidden-key
        class: hosts
        details: {a: b}
      - service_key_file: /etc/upkeep/older
    telegram_configs:
      - chat_id: -1001
        message_thread_id: 3
        disable_notifications: true
      - bot_token_file: /etc/upkeep/token
        chat_id_file: /etc/upkeep/chat
        send_resolved: false
        http_config: {bearer_token: x}
    ntfy_configs:
      - topic_file: /etc/upkeep/topic
        priority: 4
        tags: [a, b]
        http_config: {authorization: {credentials_file: /etc/upkeep/ntfy-token}}
    command_configs:
      - command: [/usr/local/bin/tell, --all, '$(x)']
        timeout: 5s
";

#[test]
fn receivers_of_every_kind_are_read() {
    let commands = vec![PathBuf::from("/usr/local/bin/tell")];
    let allowed = Allowed { commands, ..Allowed::default() };
    let routing = parse(Path::new("routing.yml"), RECEIVERS, &allowed);
    let routing = routing.unwrap_or_else(|faults| panic!("{faults}"));
    let [
        ChannelSettings::Slack(slack),
        ChannelSettings::Slack(other),
        ChannelSettings::Teams(teams),
        ChannelSettings::PagerDuty(pagerduty),
        ChannelSettings::Unsupported { kind },
        ChannelSettings::Telegram(telegram),
        ChannelSettings::Telegram(quiet),
        ChannelSettings::Ntfy(ntfy),
        ChannelSettings::Command(command),
    ] = &routing.receivers[0].channels[..]
    else {
        panic!("{routing:?}")
    };
    let file = |path: &str| Secret::File(PathBuf::from(path));
    assert_eq!(slack.url, file("/etc/upkeep/slack-url"));
    assert_eq!((slack.channel.as_deref(), slack.send_resolved), (Some("#ops"), false));
    assert_eq!(
        (slack.username.as_deref(), slack.icon_emoji.as_deref()),
        (Some("upkeep"), Some(":fire:"))
    );
    assert_eq!((other.channel.as_deref(), other.send_resolved), (None, true));
    assert_eq!((&teams.url, teams.send_resolved), (&file("/etc/upkeep/teams-url"), true));
    assert_eq!(pagerduty.url, "https://events.eu.pagerduty.com/v2/enqueue");
    assert_eq!(pagerduty.fixed.get("class").map(String::as_str), Some("hosts"));
    assert_eq!(kind, "pagerduty of version 1");
    assert_eq!(telegram.url, "https://telegram.example.org");
    assert_eq!(
        (telegram.thread, telegram.is_silent, telegram.send_resolved),
        (Some(3), true, true)
    );
    assert_eq!(telegram.chat, Secret::Inline("-1001".to_owned()));
    assert_eq!(
        (&quiet.token, &quiet.chat),
        (&file("/etc/upkeep/token"), &file("/etc/upkeep/chat"))
    );
    assert!(!quiet.send_resolved && quiet.http.authorization.is_some());
    assert_eq!(
        (ntfy.url.as_str(), ntfy.priority, ntfy.tags.len()),
        ("https://ntfy.sh", Some(4), 2)
    );
    assert_eq!(command.arguments, ["--all", "$(x)"]);
    assert_eq!((command.timeout.as_secs(), command.send_resolved), (5, true));
    let warnings: Vec<_> = routing.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "routing.yml:14:9: `title` is not served and left out",
            "routing.yml:16:18: `channel` is a template, which is not served here, and left out",
            "routing.yml:20:23: `proxy_url` is not served and left out",
            "routing.yml:20:68: `server_name` is not served and left out",
            "routing.yml:24:9: `details` is not served and left out",
            "routing.yml:25:9: `service_key` is of events of version 1, which are not served; telling by it fails",
        ]
    );
    assert!(!format!("{routing:?}").contains("hidden"), "secrets show nowhere");
}

#[test]
fn receivers_that_lack_something_are_faults() {
    let text = "\
route: {receiver: a}
receivers:
  - name: a
    slack_configs:
      - channel: '#a'
      - api_url: slack
    msteamsv2_configs:
      - title: x
    pagerduty_configs:
      - class: x
      - {routing_key: a, service_key: b}
    telegram_configs:
      - message_thread_id: x
    ntfy_configs:
      - {topic: a, priority: 6}
      - {topic: a, topic_file: b, colour: red}
    command_configs:
      - command: []
      - command: [/bin/sh, -c, x]
      - command: [tell]
";
    let faults = read_text(text).unwrap_err().to_string();
    for expect in [
        "routing.yml:5:9: `api_url` must be set here, or `slack_api_url` in `global`",
        "routing.yml:6:9: the URL cannot be read",
        "routing.yml:8:9: one of `webhook_url` and `webhook_url_file` must be set in a channel of Teams",
        "routing.yml:10:9: one of `routing_key` and `service_key` must be set",
        "routing.yml:11:9: one of `routing_key` and `service_key` must be set",
        "routing.yml:13:9: `bot_token` must be set here",
        "routing.yml:13:9: one of `chat_id` and `chat_id_file` must be set",
        "routing.yml:13:28: `x` is not the number of a topic",
        "routing.yml:15:30: `6` is not a priority, 1 to 5",
        "routing.yml:16:9: only one of `topic` and `topic_file` may be set",
        "routing.yml:16:9: one of `topic` and `topic_file` must be set",
        "routing.yml:16:35: unknown key `colour` in a topic of ntfy",
        "routing.yml:18:9: `command` must name a program",
        "routing.yml:19:19: `/bin/sh` is not in `alerts.allow_commands`",
        "routing.yml:20:19: `tell` must be an absolute path",
    ] {
        assert!(faults.contains(expect), "missing: {expect}\n{faults}");
    }
    assert_eq!(faults.lines().count(), 15, "{faults}");
}

#[test]
fn a_password_is_not_sent_in_clear_text_over_the_network() {
    let text = |host: &str| {
        format!(
            "
route: {{receiver: ops}}
receivers:
  - name: ops
    email_configs:
      - {{to: a@example.org, from: b@example.org, smarthost: '{host}', auth_username: u,
         auth_password: p, require_tls: false}}
"
        )
    };
    assert!(read_text(&text("localhost:25")).is_ok());
    let faults = read_text(&text("mail.example.org:25")).unwrap_err().to_string();
    assert!(faults.contains("the password would travel in clear text"), "{faults}");
}
