//! Who asks: Basic, `X-ClickHouse-User`/`X-ClickHouse-Key`, or `user`/`password` parameters, compared in
//! constant time.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::RequestParameters;

/// A user name and a password, as a request gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; `default` when the request named none.
    pub user: String,
    /// The password; empty when the request gave none.
    pub password: String,
}

impl Credentials {
    /// Reads them from wherever the request put them: headers of ClickHouse's own, then Basic, then the URL.
    #[must_use]
    pub fn of(headers: &HeaderMap, parameters: &RequestParameters) -> Self {
        // As bytes: passwords are UTF-8, which `to_str` does not take.
        let header = |name: &str| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let (user, password) = (header("x-clickhouse-user"), header("x-clickhouse-key"));
        if user.is_some() || password.is_some() {
            return Self::or_default(user, password);
        }
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some((user, password)) = authorization.and_then(basic) {
            return Self::or_default(Some(user), Some(password));
        }
        Self::or_default(parameters.user.clone(), parameters.password.clone())
    }

    fn or_default(user: Option<String>, password: Option<String>) -> Self {
        let user = user.filter(|user| !user.is_empty()).unwrap_or_else(|| "default".into());
        Self { user, password: password.unwrap_or_default() }
    }
}

/// The one user that may ask.
#[derive(Clone)]
pub struct Gate {
    user: String,
    password: String,
}

impl Gate {
    /// Lets `user` in with `password`.
    #[must_use]
    pub fn new(user: String, password: String) -> Self {
        Self { user, password }
    }

    /// Whether these are the right credentials; takes the same time wherever they differ.
    #[must_use]
    pub fn admits(&self, credentials: &Credentials) -> bool {
        let user = self.user.as_bytes().ct_eq(credentials.user.as_bytes());
        let password = self.password.as_bytes().ct_eq(credentials.password.as_bytes());
        (user & password).into()
    }
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(base64(encoded.trim())?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Standard base64 (RFC 4648 §4), padding optional.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: Option<(&'static str, &str)>, url: &str) -> (String, String) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = Credentials::of(&headers, &RequestParameters::parse(url, &headers));
        (found.user, found.password)
    }

    #[test]
    fn are_found_wherever_they_stand() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of(None, ""), pair("default", ""));
        assert_eq!(of(None, "user=u&password=p"), pair("u", "p"));
        assert_eq!(of(Some(("x-clickhouse-key", "wörd")), ""), pair("default", "wörd"));
        assert_eq!(of(Some(("x-clickhouse-key", "k")), "user=u&password=p"), pair("default", "k"));
        // "user:p:w"
        assert_eq!(of(Some(("authorization", "Basic dXNlcjpwOnc=")), ""), pair("user", "p:w"));
        assert_eq!(of(Some(("authorization", "Basic %%%")), ""), pair("default", ""));
    }

    #[test]
    fn only_the_right_ones_pass() {
        let gate = Gate::new("u".into(), "p".into());
        let given = |user: &str, password: &str| Credentials { user: user.into(), password: password.into() };
        assert!(gate.admits(&given("u", "p")));
        for wrong in [given("u", ""), given("u", "pp"), given("", "p"), given("default", "p")] {
            assert!(!gate.admits(&wrong));
        }
    }
}
