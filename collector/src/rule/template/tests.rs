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
    let context = Context::new(&labels(), value, "https://upkeep.example.org", &ask());
    Template::compile("summary", text)?.render(&context)
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
}

#[test]
fn output_and_loops_are_bounded() {
    let long = render("{{ range 9000 }}0123456789{{ end }}", 0.0).unwrap();
    assert!(long.len() <= MAX_OUTPUT + "…".len() && long.ends_with('…'));
    let wide = render(&format!("{{{{ $value }}}}{}", "é".repeat(MAX_OUTPUT)), 0.0).unwrap();
    assert!(wide.len() <= MAX_OUTPUT + "…".len());
    assert!(render("{{ range 1000000 }}{{ end }}", 0.0).is_err());
}
