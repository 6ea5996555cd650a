//! `/api/v1/labels` and `/api/v1/label/{name}/values`.

use axum::extract::{Path, State};
use axum::response::Response;

use super::error::ApiError;
use super::parameters::Parameters;
use super::series::look_up;
use super::{Services, prometheus};

/// Label names that are no identifiers may come escaped behind this, since not every client can
/// put them into a path.
const ESCAPED: &str = "U__";

/// `GET|POST /api/v1/labels`: parameters `match[]`, `start`, `end`, `limit`, `timeout`.
pub(super) async fn names(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let found = services.engine.label_names(look_up(&parameters)?).await?;
    Ok(prometheus::list(found, limit))
}

/// `GET /api/v1/label/{name}/values`: the same parameters.
pub(super) async fn values(
    State(services): State<Services>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let found = services.engine.label_values(unescape(&name), look_up(&parameters)?).await?;
    Ok(prometheus::list(found, limit))
}

/// Undoes the escaping: `__` is an underscore, `_HEX_` a character by its code point. What is not
/// such a notation is a name as it stands.
fn unescape(name: &str) -> String {
    name.strip_prefix(ESCAPED).and_then(decode).unwrap_or_else(|| name.to_owned())
}

fn decode(mut rest: &str) -> Option<String> {
    let mut name = String::new();
    while let Some((plain, escaped)) = rest.split_once('_') {
        name.push_str(plain);
        let (code, tail) = escaped.split_once('_')?;
        name.push(match code {
            "" => '_',
            code => char::from_u32(u32::from_str_radix(code, 16).ok()?)?,
        });
        rest = tail;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_undone() {
        let check = |name: &str, expect: &str| assert_eq!(unescape(name), expect);
        check("job", "job");
        check("U__http_2e_status", "http.status");
        check("U__a__b", "a_b");
        check("U__snow_2603_", "snow☃");
        check("U__broken_", "U__broken_");
        check("U__broken_zz_", "U__broken_zz_");
        check("U__broken_d800_", "U__broken_d800_");
        check("plain_2e_", "plain_2e_");
    }
}
