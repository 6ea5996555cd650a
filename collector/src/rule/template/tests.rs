use super::*;

fn labels() -> Labels {
    Labels::new([
        ("__name__", "node_load1"),
        ("instance", "web1.example.org:9100"),
        ("device", "sda"),
        ("hostile", "{{ query \"x\" }}<b>"),
    ])
}

fn ask() -> Ask {
    Arc::new(|expression| match expression {
        "two" => Ok([("b", 2.0), ("a", 1.5)]
            .into_iter()
            .map(|(name, value)| Point { labels: Labels::new([("name", name)]), at_ms: 0, value })
            .collect()),
        "none" => Ok(Vec::new()),
        other => Err(format!("cannot ask {other}")),
    })
}

fn render(text: &str, value: f64) -> Result<String, TemplateError> {
    let site = Site {
        external_url: "https://upkeep.example.org/watch/",
        external_labels: &Labels::new([("site", "north")]),
        ask: &ask(),
        now_ms: 1_700_000_000_500,
    };
    let context = Context::new(&labels(), value, &site);
    Ok(Template::compile("summary", text)?.render(&context)?.to_string())
}

#[test]
fn templates_print_as_prometheus_does() {
    let check = |text: &str, value: f64, expect: &str| {
        assert_eq!(render(text, value).unwrap(), expect, "{text}");
    };
    check("plain } text", 0.0, "plain } text");
    check("{{ $labels.device }} at {{ $value }}", 0.25, "sda at 0.25");
    check("{{ .Labels.device }}{{ $.Labels.device }}", 0.0, "sdasda");
    check("[{{ $labels.absent }}]", 0.0, "[]");
    check("{{ $value }}", 12_345_678.0, "1.2345678e+07");
    check("{{ $value }}", 123_456.0, "123456");
    check("{{ $value }}", 1_000_000.0, "1e+06");
    check("{{ $value }}", 0.000_1, "0.0001");
    check("{{ $value }}", 0.000_012_5, "1.25e-05");
    check("{{ $value }}", f64::NAN, "NaN");
    check("{{ $value }}", f64::INFINITY, "+Inf");
    check("{{ printf \"%.2f\" $value }}", 12.345, "12.35");
    check("{{ printf \"%.0f\" $value }}%", 92.6, "93%");
    check("{{ $value | humanize }}", 1_234_567.0, "1.235M");
    check("{{ $value | humanize }}", 0.001_234, "1.234m");
    check("{{ $value | humanize }}", 0.0, "0");
    check("{{ $value | humanize1024 }}", 1_048_576.0, "1Mi");
    check("{{ $value | humanize1024 }}", -2048.0, "-2ki");
    check("{{ $value | humanizePercentage }}", 0.123_456, "12.35%");
    check("{{ $value | humanizeDuration }}", 93_784.0, "1d 2h 3m 4s");
    check("{{ $value | humanizeDuration }}", 59.5, "59.5s");
    check("{{ $value | humanizeDuration }}", 0.02, "20ms");
    check("{{ $value | humanizeTimestamp }}", 1.5, "1970-01-01 00:00:01.5 +0000 UTC");
    check("{{ query \"two\" | first | value }}", 0.0, "1.5");
    check("{{ \"two\" | query | first | label \"name\" }}", 0.0, "a");
    check("{{ range query \"two\" }}{{ .Labels.name }}={{ .Value }} {{ end }}", 0.0, "a=1.5 b=2 ");
    check("{{ with query \"none\" }}some{{ else }}nothing{{ end }}", 0.0, "nothing");
    check("{{ if gt $value 1.0 }}high{{ end }}", 2.0, "high");
    check("{{ $labels.instance | stripPort | stripDomain | toUpper }}", 0.0, "WEB1");
    check("{{ reReplaceAll \"s(.)a\" \"x$1\" $labels.device }}", 0.0, "xd");
    check("{{ title \"disk full\" }} {{ match \"^sd\" $labels.device }}", 0.0, "Disk Full true");
    check("{{ $labels.hostile }}", 0.0, "{{ query \"x\" }}<b>");
    check("{{ define \"unit\" }}{{ . }} B{{ end }}{{ template \"unit\" $value }}", 1e7, "1e+07 B");
    check("{{ $externalLabels.site }} {{ .ExternalLabels.site }}", 0.0, "north north");
}

#[test]
fn moments_durations_and_links_are_prometheus() {
    let check = |text: &str, value: f64, expect: &str| {
        assert_eq!(render(text, value).unwrap(), expect, "{text}");
    };
    check("{{ now }}", 0.0, "1.7000000005e+09");
    check("{{ now | toTime }}", 0.0, "2023-11-14 22:13:20.5 +0000 UTC");
    check("{{ humanizeTimestamp now }}", 0.0, "2023-11-14 22:13:20.5 +0000 UTC");
    check("{{ toTime $value }}", 1.5, "1970-01-01 00:00:01.5 +0000 UTC");
    check("{{ parseDuration \"1h30m\" }}", 0.0, "5400");
    check("{{ \"90s\" | parseDuration | toDuration }}", 0.0, "1m30s");
    let durations = [
        (0.0, "0s"),
        (59.5, "59.5s"),
        (3_600.0, "1h0m0s"),
        (90_061.25, "25h1m1.25s"),
        (-61.0, "-1m1s"),
        (0.02, "20ms"),
        (0.001_5, "1.5ms"),
        (0.000_002_5, "2.5µs"),
        (0.000_000_003, "3ns"),
    ];
    for (value, expect) in durations {
        check("{{ toDuration $value }}", value, expect);
    }
    check("{{ graphLink \"up == 0\" }}", 0.0, "/graph?g0.expr=up+%3D%3D+0&g0.tab=0");
    check(
        "{{ \"a{b=\\\"ü\\\"}\" | tableLink }}",
        0.0,
        "/graph?g0.expr=a%7Bb%3D%22%C3%BC%22%7D&g0.tab=1",
    );
    check("{{ urlQueryEscape \"a b/c~d\" }}", 0.0, "a+b%2Fc~d");
    check("{{ externalURL }}|{{ pathPrefix }}", 0.0, "https://upkeep.example.org/watch|/watch");
    check(
        "{{ externalURL }}{{ tableLink \"up\" }}",
        0.0,
        "https://upkeep.example.org/watch/graph?g0.expr=up&g0.tab=1",
    );
}

#[test]
fn templates_are_filled_in_by_name_and_with_several_arguments() {
    let check = |text: &str, value: f64, expect: &str| {
        assert_eq!(render(text, value).unwrap(), expect, "{text}");
    };
    let pair = "{{ define \"pair\" }}{{ .arg0 }}={{ .arg1 }}{{ end }}";
    check(&format!("{pair}{{{{ template \"pair\" (args \"x\" $value) }}}}"), 2.5, "x=2.5");
    check(&format!("{pair}{{{{ tmpl \"pair\" (args $labels.device 7) }}}}"), 0.0, "sda=7");
    let named = "{{ define \"a\" }}A{{ end }}{{ define \"b\" }}B{{ end }}{{ range query \"two\" }}{{ tmpl .Labels.name . }}{{ end }}";
    check(named, 0.0, "AB");
    let turns = "{{ define \"many\" }}{{ range . }}x{{ end }}{{ end }}{{ tmpl \"many\" 101 }}";
    assert!(render(turns, 0.0).is_err());
}

#[test]
fn labels_print_whole_without_the_metric_name() {
    let text = render("{{ $labels }}", 0.0).unwrap();
    assert!(text.starts_with("map[device:sda hostile:"), "{text}");
}

#[test]
fn faults_name_the_template() {
    let check = |text: &str, expect: &str| {
        let error = render(text, 0.0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("template `summary`: {expect}")), "{error}");
    };
    check("{{ if }}x", "line 1, column");
    check("a\n{{ $labels.x ", "line 2, column");
    check("{{ system \"ls\" }}", "function `system` is not known");
    check("{{ $lables.x }}", "variable `$lables` is not defined");
    check("{{ query \"none\" | first }}", "");
    check("{{ query \"bad\" }}", "");
    check("{{ humanize \"x\" }}", "");
    check("{{ toTime \"Inf\" }}", "");
    check("{{ tmpl \"absent\" . }}", "");
    check("{{ define \"a\" }}{{ tmpl \"b\" . }}{{ end }}{{ tmpl \"a\" . }}", "");
    check("{{ now.Year }}", "");
}

#[test]
fn output_and_loops_are_bounded() {
    let long = render("{{ range 9000 }}0123456789{{ end }}", 0.0).unwrap();
    assert!(long.len() <= MAX_OUTPUT + "…".len() && long.ends_with('…'));
    let wide = render(&format!("{{{{ $value }}}}{}", "é".repeat(MAX_OUTPUT)), 0.0).unwrap();
    assert!(wide.len() <= MAX_OUTPUT + "…".len());
    assert!(render("{{ range 1000000 }}{{ end }}", 0.0).is_err());
}
