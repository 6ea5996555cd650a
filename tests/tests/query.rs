//! `upkeep-collector query` asks the running collector.

use anyhow::Result;
use upkeep_tests::{Collector, CollectorOptions};

#[tokio::test]
async fn the_query_command_prints_values_and_refusals() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let token = collector.configuration_dir().join("token");
    std::fs::write(&token, format!("{}\n", collector.api_token()))?;
    let token = token.to_string_lossy().into_owned();
    let ask = |arguments: &[&str]| {
        let fixed = ["query", "--token-file", &token];
        collector.command(&fixed.iter().chain(arguments).copied().collect::<Vec<_>>())
    };
    assert_eq!(ask(&["1+1"])?.success()?, "2\n");
    let json = ask(&["1+1", "--time", "4", "--json"])?.success()?;
    let scalar =
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"2\"]}}\n";
    assert_eq!(json, scalar);
    let range = ask(&["vector(time())", "--start", "0", "--end", "30", "--step", "30s"])?;
    assert_eq!(range.success()?, "{}\n  1970-01-01T00:00:00Z  0\n  1970-01-01T00:00:30Z  30\n");

    let refused = ask(&["sum("])?;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("invalid parameter \"query\": "), "{}", refused.stderr);
    std::fs::write(&token, "not a token")?;
    let refused = ask(&["1"])?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the API token is not known"), "{}", refused.stderr);
    assert_eq!(collector.command(&["query", "1"])?.code, Some(2));
    Ok(())
}
