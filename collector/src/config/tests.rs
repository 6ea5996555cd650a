use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collector.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("").unwrap();
    assert_eq!(config.grpc.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:9443");
    assert!(config.http.tls);
    assert_eq!(config.rules.interval.to_string(), "15s");
    let Query { max_samples, timeout, concurrent } = config.query;
    assert_eq!((max_samples, concurrent), (50_000_000, 20));
    assert_eq!(timeout.to_string(), "2m");
    let (own, store) = (config.storage.options(&config.limits), Options::default());
    assert_eq!(
        (own.cache_bytes, own.journal_bytes, own.max_series, own.retention),
        (store.cache_bytes, store.journal_bytes, store.max_series, store.retention)
    );
}

#[test]
fn bounds_reach_the_store_and_the_queries() {
    let text = "[storage]\ncache_mib = 8\njournal_mib = 16\n[limits]\nseries = 70\n\
        [query]\nmax_samples = 9\ntimeout = \"3s\"\nconcurrent = 2\n";
    let config = load(text).unwrap();
    let store = config.storage.options(&config.limits);
    let found = (store.cache_bytes, store.journal_bytes, store.max_series);
    assert_eq!(found, (8 << 20, 16 << 20, 70));
    assert_eq!(store.downsampling, Downsampling::default());
    let text = "[storage]\nretention_days = 400\ndownsample_5m_after_days = 2\n\
        downsample_1h_after_days = 90\n";
    let (storage, limits) = (load(text).unwrap().storage, Limits::default());
    let after = storage.options(&limits).downsampling;
    let expect = [after.five_minutes_after, after.one_hour_after];
    assert_eq!(expect, [Some(Duration::from_hours(48)), Some(Duration::from_hours(90 * 24))]);
    let queries = config.query.settings();
    assert_eq!((queries.max_samples, queries.concurrency), (9, 2));
    assert_eq!(queries.timeout, Duration::from_secs(3));
}

#[test]
fn values_are_read() {
    let text = "data_dir = \"/data\"\n[http]\nlisten = \"127.0.0.1:0\"\ntls = false\n\
        [rules]\ninterval = \"1m 30s\"\n[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n\
        keep_silences = \"2 days\"\n";
    let config = load(text).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/data"));
    assert_eq!(config.rules.interval.0, Duration::from_secs(90));
    assert_eq!(config.alerts.allow_networks.len(), 1);
    assert_eq!(config.alerts.keep_silences.0, Duration::from_hours(48));
    assert!(!config.http.tls);
}

#[test]
fn faults_are_named_all_at_once() {
    let check = |text: &str, expect: &[&str]| {
        let error = load(text).unwrap_err().to_string();
        for part in expect {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    check(
        "[grpc]\nhandshakes_per_second = 0\n[http]\ntls = false\n[storage]\nretention_days = 0\nretention_bytes = 0\n",
        &[
            "grpc.handshakes_per_second",
            "http.tls",
            "0.0.0.0:9443",
            "storage.retention_days",
            "storage.retention_bytes",
        ],
    );
    check(
        "[storage]\ncache_mib = 0\njournal_mib = 0\n[query]\nmax_samples = 0\ntimeout = \"0s\"\n\
         concurrent = 0\n[limits]\nseries = 0\n",
        &[
            "storage.cache_mib",
            "storage.journal_mib",
            "query.max_samples",
            "query.timeout",
            "query.concurrent",
            "limits.series: it must not be 0",
        ],
    );
    check(
        "[storage]\nretention_days = 30\ndownsample_5m_after_days = 0\n\
         downsample_1h_after_days = 30\n",
        &[
            "storage.downsample_5m_after_days: it must be at least 2",
            "storage.downsample_1h_after_days: it must be less than storage.retention_days, 30",
        ],
    );
    check(
        "[storage]\ndownsample_5m_after_days = 7\ndownsample_1h_after_days = 7\n",
        &["1h_after_days: it must be more than storage.downsample_5m_after_days, 7"],
    );
    check(
        "[heartbeat]\nurl = \"x\"\nurl_file = \"/y\"\ninterval = \"0s\"\n",
        &["heartbeat.url_file: only one", "heartbeat.url: the URL", "heartbeat.interval"],
    );
    check(
        "[alerts.flapping]\nchanges = 1\nwindow = \"0s\"\nquiet = \"0s\"\n",
        &["flapping.changes: it must be 0, or from 2", "flapping.window", "flapping.quiet"],
    );
    check(
        "[digest]\nhour = 24\nzone = \"Europe/Atlantis\"\n",
        &["digest.hour: it must be from 0 to 23", "digest.zone", "Europe/Atlantis"],
    );
    check("[digest]\nweekly = \"someday\"\n", &["weekly", "someday", "monday"]);
    check("[query]\ntimeout = 5\n", &["query", "collector.toml"]);
    check("[storage]\njournal_mb = 5\n", &["journal_mb", "collector.toml"]);
    check("[grcp]\nlisten = \"x\"\n", &["grcp", "collector.toml"]);
    check("[certificates]\nhost_lifetime = \"59s\"\n", &["host_lifetime", "at least 1m"]);
    check(
        "[[remote_write]]\nname = \"a\"\nurl = \"http://192.168.1.5/\"\n\
         [[remote_write]]\nname = \"a\"\nurl = \"https://x/\"\n",
        &["remote_write \"a\": url must begin with https://", "\"a\" is given twice"],
    );
    check("[rules]\ninterval = \"soon\"\n", &["interval", "collector.toml"]);
}
