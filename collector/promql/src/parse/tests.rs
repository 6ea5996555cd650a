//! What is accepted, what is refused, and in which words.

use super::*;

#[test]
fn only_a_bare_selector_is_one() {
    let check = |text: &str, expect: Option<usize>| {
        assert_eq!(parse_selector(text).ok().map(|found| found.len()), expect, "{text}");
    };
    check("up", Some(1));
    check("up{job=\"node\", instance!=\"\"}", Some(3));
    check("{job=\"node\"}", Some(1));
    check("{\"up\", job=\"node\"}", Some(2));
    check("up[5m]", None);
    check("up offset 5m", None);
    check("up @ 5", None);
    check("sum(up)", None);
    check("up{", None);
}

/// What is said of a text, or `fine`.
fn said(text: &str) -> String {
    parse(text).map(|_| "fine".to_owned()).unwrap_or_else(|error| error.to_string())
}

fn check(text: &str, expect: &str) {
    let message = said(text);
    assert!(message.contains(expect), "{text:.200}: {message}");
}

#[test]
fn errors_of_the_grammar_are_those_of_prometheus() {
    let check = |text: &str, expect: &str| {
        assert_eq!(
            said(text),
            format!("{}", expect.replacen(": ", ": parse error: ", 1)),
            "{text}"
        );
    };
    assert_eq!(said(""), "unknown position: parse error: no expression found in input");
    check("# only a comment", "1:1: no expression found in input");
    check("foo bar", "1:5: unexpected identifier \"bar\"");
    check("up{", "1:4: unexpected end of input inside braces");
    check("up)", "1:4: unexpected right parenthesis ')'");
    check("(up", "1:4: unclosed left parenthesis");
    check("up +", "1:5: unexpected end of input");
    check("1 +\n+ / 2", "2:3: unexpected <op:/>");
    check("a:b c:d", "1:5: unexpected metric identifier \"c:d\"");
    check("sum(a b)", "1:7: unexpected identifier \"b\" in aggregation");
    check("sum some_metric by (test)", "1:5: unexpected identifier \"some_metric\"");
    check("MIN keep_common (m)", "1:5: unexpected identifier \"keep_common\"");
    check("MIN (m) keep_common", "1:9: unexpected identifier \"keep_common\"");
    check("sum by (x) m", "1:12: unexpected identifier \"m\" in aggregation");
    check(
        "sum (m) by test",
        "1:12: unexpected identifier \"test\" in grouping opts, expected \"(\"",
    );
    check("sum (m) without (a) by (b)", "1:21: unexpected <by>");
    check("sum without(==)(m)", "1:13: unexpected <op:==> in grouping opts, expected label");
    check("sum without(a,,)(m)", "1:15: unexpected \",\" in grouping opts, expected label");
    check(
        "sum by (a b) (m)",
        "1:11: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
    );
    check("sum by (\"\") (m)", "1:9: invalid label name for grouping: \"\"");
    check("sum () by (t)", "1:1: no arguments for aggregate expression provided");
    check(
        "topk(m)",
        "1:1: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
    check("topk(m,)", "1:7: trailing commas not allowed in function call args");
    check("foo{,}", "1:5: unexpected \",\" in label matching, expected identifier or \"}\"");
    check("foo{a= =}", "1:8: unexpected \"=\" in label matching, expected string");
    check("foo{a}", "1:6: unexpected \"}\" in label matching, expected label matching operator");
    check(
        "foo{a=\"b\" c}",
        "1:11: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
    );
    check(
        "foo{a=\"b\" or c=\"d\"}",
        "1:11: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
    );
    check("foo{1}", "1:5: unexpected character inside braces: '1'");
    check("foo{a!b}", "1:6: unexpected character after '!' inside braces: 'b'");
    check(
        "foo offset",
        "1:11: unexpected end of input in offset, expected number, duration, step(), or range()",
    );
    check(
        "foo offset bar",
        "1:12: unexpected identifier \"bar\" in offset, expected number, duration, step(), or range()",
    );
    check("foo @ bar", "1:7: unexpected identifier \"bar\" in @, expected timestamp");
    check(
        "foo[]",
        "1:5: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    );
    check("foo[5m", "1:7: unclosed left bracket");
    check("foo[5m:5m:5m]", "1:10: unexpected colon ':'");
    check("foo[x]", "1:5: unexpected character in duration expression: 'x'");
    check("foo[0m]", "1:5: duration must be greater than 0");
    check("foo[5mm]", "1:5: bad number or duration syntax: \"5mm\"");
    check("foo[5m30h]", "1:5: not a valid duration string: \"5m30h\"");
    check("foo[300y]", "1:5: duration out of range");
    check("foo offset 1e30", "1:12: duration out of range");
    check("foo offset nan", "1:12: duration out of range");
    check("a OFFSET -Inf", "1:11: duration out of range");
    check("a @ Inf", "1:5: timestamp out of bounds for @ modifier: inf");
    check("(a + b)[5m]", "1:8: ranges only allowed for vector selectors");
    check("a offset 1m[5m]", "1:12: no offset modifiers allowed before range");
    check("a @ 5 [5m]", "1:7: no @ modifiers allowed before range");
    check("a offset 1m offset 2m", "1:1: offset may not be set multiple times");
    check("a @ 1 @ 2", "1:1: @ <timestamp> may not be set multiple times");
    check(
        "1 offset 5m",
        "1:1: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
    check("frobnicate(up)", "1:1: unknown function with name \"frobnicate\"");
    check("\"abc", "1:1: unterminated quoted string");
    check("`abc", "1:1: unterminated raw string");
    check("\"\\é\"", "1:1: unknown escape sequence U+00E9 'é'");
    check("\"\\xg0\"", "1:1: illegal character U+0067 'g' in escape sequence");
    check("1e", "1:1: bad number or duration syntax: \"1e\"");
    check("a ~ b", "1:3: unexpected character: '~'");
    check("a =~ b", "1:3: unexpected character after '=': '~'");
    check("\"a\" \"0123456789\"", "1:5: unexpected string \"\\\"012345678\"...");
}

#[test]
fn errors_of_types_are_those_of_prometheus() {
    let check = |text: &str, expect: &str| {
        assert_eq!(
            said(text),
            format!("{}", expect.replacen(": ", ": parse error: ", 1)),
            "{text}"
        );
    };
    check(
        "rate(up)",
        "1:6: expected type range vector in call to function \"rate\", got instant vector",
    );
    check("rate(a[5m],3)", "1:1: expected 1 argument(s) in call to \"rate\", got 2");
    check("round(a, 1, 2)", "1:1: expected at most 2 argument(s) in call to \"round\", got 3");
    check("label_join(a)", "1:1: expected at least 3 argument(s) in call to \"label_join\", got 1");
    check("sum(1)", "1:5: expected type instant vector in aggregation expression, got scalar");
    check("topk(m, n)", "1:6: expected type scalar in aggregation parameter, got instant vector");
    check("count_values(5, m)", "1:14: expected type string in aggregation parameter, got scalar");
    check("count_values(\"\", up)", "1:14: invalid label name \"\"");
    check("ln(0)", "1:4: expected type instant vector in call to function \"ln\", got scalar");
    check("{job=~\".*\"}", "1:1: vector selector must contain at least one non-empty matcher");
    check("a{__name__=\"b\"}", "1:1: metric name must not be set twice: \"a\" or \"b\"");
    check("1 == 2", "1:3: comparisons between scalars must use BOOL modifier");
    check("a + bool b", "1:3: bool modifier can only be used on comparison operators");
    check("up and 1", "1:1: set operator \"and\" not allowed in binary scalar expression");
    check("a and on (x) group_left b", "1:1: no grouping allowed for \"and\" operation");
    check(
        "a + on (x) group_left (x) b",
        "1:3: label \"x\" must not occur in ON and GROUP clause at once",
    );
    check("1 + on (x) a", "1:1: vector matching only allowed between instant vectors");
    check("up + \"x\"", "1:6: binary expression must contain only scalar and instant vector types");
    check("a[5m] + 1", "1:1: binary expression must contain only scalar and instant vector types");
    check(
        "-a[5m]",
        "1:1: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
    );
    check("1[5m:1m]", "1:1: subquery is only allowed on instant vector, got scalar instead");
}

#[test]
fn what_is_not_supported_is_named() {
    check("histogram_count(up)", "function \"histogram_count\" is not supported: native");
    check("mad_over_time(up[5m])", "function \"mad_over_time\" is not supported: experim");
    check("info(up)", "function \"info\" is not supported: experimental");
    check("limit_ratio(0.5, up)", "aggregation \"limit_ratio\" is not supported: experim");
    check("a + fill(1) b", "1:5: parse error: modifier \"fill\" is not supported: experimental");
    check("rate(a[5m] smoothed)", "modifier \"smoothed\" is not supported: experimental");
    check("rate(a[5m] anchored)", "modifier \"anchored\" is not supported: experimental");
    check("a{b=\"smoothed\"}", "fine");
    check("smoothed + fill", "fine");
    check("a[5m+1m]", "duration expression is not supported: experimental");
    check("a[(5m)]", "duration expression is not supported: experimental");
    check("a[step()]", "duration expression is not supported: experimental");
    check("a offset (5m)", "duration expression is not supported: experimental");
    check("a[5m:1m]", "fine");
    check("a[5m::1m]", "aligned subquery is not supported: experimental");
    // What only looks like one of them.
    check("rate(a[5m) smoothed", "1:10: parse error: unexpected \")\" in subquery or range, exp");
    check("a offset 5m + 3", "fine");
}

#[test]
fn every_form_is_taken() {
    for text in [
        "1_000 + 0x_1F + .123_4 + 0755 + 1e-3 + Inf + nan",
        "a:b{c=\"d\",}[5m] offset 1h @ 5",
        "sum by (on, by, start, \"q q\",) (group_left_1)",
        "sum without () (a)",
        "AVG(a) BY (b)",
        "{\"up\", \"a b\"=\"c\"}",
        "a + on () group_left b",
        "a <= bool ignoring (x) group_right (y) b",
        "offset offset 5m",
        "sum + start + and",
        "a[300] offset -5",
        "-1 ^ 2 # comment\n + 3",
        "'a\\'b'",
        "a @ -1.5",
        "a[5m:] @ end() offset 3w",
        "fill_left + fill",
    ] {
        assert_eq!(said(text), "fine", "{text}");
    }
}

#[test]
fn odd_texts_are_refused_and_never_panic() {
    let deep = "(".repeat(10_000) + "1";
    check(&deep, "nested brackets, the limit is");
    check(&format!("1{}", "+1".repeat(2_000)), "operators, the limit is");
    check(&"-".repeat(10_000), "operators, the limit is");
    check(&format!("a{{b=\"{}\"}}", "x".repeat(70_000)), "bytes, the limit is");
    check("a[1e30]", "parse error");
    check("a[1e400]", "parse error");
    let generated: Vec<String> =
        (0..200).map(|number| format!("m{{a=\"{number}\",b!=\"\"}}")).collect();
    check(&generated.join(" or "), "fine");
}

#[test]
fn a_query_keeps_its_text_and_names_its_selectors() {
    let query = parse(" rate(a{b=\"c\"}[5m]) / on (x) {__name__=~\"d.*\"} ").unwrap();
    assert_eq!(query.to_string(), "rate(a{b=\"c\"}[5m]) / on (x) {__name__=~\"d.*\"}");
    let selectors: Vec<Vec<String>> = query
        .selectors()
        .iter()
        .map(|matchers| matchers.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(selectors[0], ["__name__=\"a\"", "b=\"c\""]);
    assert_eq!(selectors[1], ["__name__=~\"d.*\""]);
}

#[test]
fn an_expression_is_written_in_one_form() {
    let check = |text: &str, expect: &str| {
        let formatted = format(text).unwrap();
        assert_eq!(formatted, expect, "{text}");
        assert_eq!(format(&formatted).unwrap(), expect, "{text} twice");
    };
    check("sum(rate(a{b=\"c\"} [ 5m ])) by(x,y)", "sum by (x, y) (rate(a{b=\"c\"}[5m]))");
    check("sum without()(a)", "sum without () (a)");
    check("sum by () (a)", "sum(a)");
    check("a{z='1', b!=\"2\",}", "a{b!=\"2\",z=\"1\"}");
    check("{\"a\"}", "{__name__=\"a\"}");
    check("{\"a b\"=\"c\"}", "{\"a b\"=\"c\"}");
    check("a*on(x)group_left(y)b", "a * on (x) group_left (y) b");
    check("a >bool  1_000", "a > bool 1000");
    check("a[90m:30s]offset 300 @ 5", "a[1h30m:30s] @ 5.000 offset 5m");
    check("a @ start() offset -1d", "a @ start() offset -1d");
    check("-a + +3 + -2 # no", "-a + 3 + -2");
    check("topk(3,a)", "topk(3, a)");
    check("5m + 1", "5m + 1");
    check("time ( )", "time()");
    check("(a or b) == bool ignoring(x) c", "(a or b) == bool ignoring (x) c");
}

#[test]
fn long_expressions_take_several_lines() {
    let long = |letter: &str| letter.repeat(60);
    let (a, b) = (long("a"), long("b"));
    assert_eq!(format(&format!("{a} + {b}")).unwrap(), format!("  {a}\n+\n  {b}"));
    assert_eq!(
        format(&format!("topk(3, {a} + on (x) {b})")).unwrap(),
        format!("topk(\n  3,\n    {a}\n  + on (x)\n    {b}\n)")
    );
    assert_eq!(
        format(&format!("label_join(({a} or {b}), \"c\", \"\")")).unwrap(),
        format!("label_join(\n  (\n      {a}\n    or\n      {b}\n  ),\n  \"c\",\n  \"\"\n)")
    );
}

#[test]
fn a_tree_has_prometheus_shape() {
    let check = |text: &str, expect: serde_json::Value| {
        assert_eq!(parse_tree(text).unwrap(), expect, "{text}");
    };
    let selector = |name: &str| {
        serde_json::json!({
            "type": "vectorSelector", "name": name, "offset": 0,
            "matchers": [{"name": "__name__", "value": name, "type": "="}],
            "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
        })
    };
    check("a", selector("a"));
    check(
        "sum by (x) (a) / 2",
        serde_json::json!({
            "type": "binaryExpr", "op": "/", "bool": false, "matching": null,
            "lhs": {
                "type": "aggregation", "op": "sum", "expr": selector("a"), "param": null,
                "grouping": ["x"], "without": false,
            },
            "rhs": {"type": "numberLiteral", "val": "2"},
        }),
    );
    let call = parse_tree("rate({b=~\"c\"}[5m] @ end() offset 1m)").unwrap();
    assert_eq!(call["func"]["argTypes"], serde_json::json!(["matrix"]));
    assert_eq!(call["args"][0]["range"], 300_000);
    assert_eq!(call["args"][0]["offset"], 60_000);
    assert_eq!(call["args"][0]["startOrEnd"], "end");
    assert_eq!(call["args"][0]["matchers"][0]["type"], "=~");
    let matched = parse_tree("a and on (x) b").unwrap();
    assert_eq!(matched["matching"]["card"], "many-to-many");
    assert_eq!(matched["matching"]["labels"], serde_json::json!(["x"]));
    assert_eq!(parse_tree("a[5m:] @ 1.5").unwrap()["timestamp"], 1_500);
}
