//! The log of every request that the bot made, for tests to count and assert.
//!
//! Authorization headers are never part of it.

use std::fmt;

use hyper::Method;
use serde_json::Value;

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it came, in the world's Unix milliseconds.
    pub at_ms: u64,
    /// Its method.
    pub method: Method,
    /// Its path below `/api/v10`, such as `/channels/1/messages`.
    pub path: String,
    /// Its query string, without the question mark.
    pub query: String,
    /// Its JSON body, `payload_json` if it was a form, or null.
    pub body: Value,
    /// Its `User-Agent`.
    pub agent: String,
    /// The names of the files it carried.
    pub files: Vec<String>,
    /// `X-Audit-Log-Reason`, decoded.
    pub reason: Option<String>,
    /// The status it was answered with; none while it is not answered.
    pub status: Option<u16>,
    /// Whether it came by the plain listener, as to a rate-limiting proxy.
    pub by_proxy: bool,
}

impl Request {
    /// Whether method and path fit, where `{}` in the pattern stands for any
    /// one segment: `("/channels/{}/messages")`.
    pub fn is(&self, method: &Method, pattern: &str) -> bool {
        self.method == *method && path_fits(&self.path, pattern)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method, path, body, ..
        } = self;
        match self.status {
            Some(status) => write!(to, "{status} {method} {path}")?,
            None => write!(to, "... {method} {path}")?,
        }
        if !self.query.is_empty() {
            write!(to, "?{}", self.query)?;
        }
        if !body.is_null() {
            let body: String = body.to_string().chars().take(200).collect();
            write!(to, " {body}")?;
        }
        Ok(())
    }
}

/// Whether a path fits a pattern in which `{}` stands for any one segment.
pub(crate) fn path_fits(path: &str, pattern: &str) -> bool {
    let mut segments = path.split('/');
    let mut wanted = pattern.split('/');
    loop {
        match (segments.next(), wanted.next()) {
            (None, None) => return true,
            (Some(_), Some("{}")) => {}
            (Some(segment), Some(want)) if segment == want => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::path_fits;

    #[test]
    fn patterns_stand_for_whole_segments() {
        assert!(path_fits("/channels/1/messages", "/channels/{}/messages"));
        assert!(!path_fits(
            "/channels/1/messages/2",
            "/channels/{}/messages"
        ));
        assert!(!path_fits("/channels/1", "/channels/{}/messages"));
        assert!(path_fits("/gateway", "/gateway"));
    }
}
