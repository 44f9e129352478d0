//! What a service says in an error's body.
//!
//! Each service has its own style, and proxies in front of them have others.
//! Nova and keystonemiddleware like to repeat what was sent: that is cut out.

use serde_json::Value;

/// The longest message that is passed on, in characters.
const LONGEST: usize = 400;

/// A run of this many characters without a space is no text but data.
const DATA: usize = 60;

/// The message in an error's body, without markup, without `withheld` texts
/// and without anything that looks like data.
pub(super) fn message(body: &[u8], withheld: &[String]) -> String {
    let text = String::from_utf8_lossy(body);
    let message = match serde_json::from_str::<Value>(&text) {
        Ok(json) => find(&json, 0).unwrap_or_default(),
        Err(_) => text.into_owned(),
    };
    tidy(&message, withheld)
}

/// The text of the error, wherever it is: `{"error": {"message"}}` (keystone),
/// `{"badRequest": {"message"}}` (nova, cinder), `{"NeutronError": {"message"}}`,
/// `{"message"}` (glance, middleware), `{"errors": [{"detail"}]}` (placement),
/// `{"faultstring"}` (pecan).
fn find(value: &Value, depth: usize) -> Option<String> {
    const KEYS: [&str; 6] =
        ["message", "detail", "faultstring", "error_message", "description", "title"];
    if depth > 4 {
        return None;
    }
    match value {
        Value::String(text) => {
            // A JSON text inside a JSON text, as some gateways do.
            let inner = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
            inner.and_then(|it| find(&it, depth + 1)).or_else(|| Some(text.clone()))
        }
        Value::Object(map) => KEYS
            .iter()
            .filter_map(|key| map.get(*key))
            .filter(|it| !it.as_str().is_some_and(str::is_empty))
            .find_map(|it| find(it, depth + 1))
            .or_else(|| {
                map.iter()
                    .filter(|(key, _)| !matches!(key.as_str(), "code" | "status" | "type"))
                    .find_map(|(_, it)| find(it, depth + 1))
            }),
        Value::Array(items) => items.iter().find_map(|it| find(it, depth + 1)),
        _ => None,
    }
}

/// One line of plain text.
pub(super) fn tidy(text: &str, withheld: &[String]) -> String {
    let mut text = without_markup(text);
    for secret in withheld.iter().filter(|it| it.len() >= 4) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "<withheld>");
        }
    }
    let words: Vec<_> =
        text.split_whitespace()
            .map(|word| {
                if word.chars().count() > DATA && !word.contains("://") {
                    "<withheld>"
                } else {
                    word
                }
            })
            .collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// HTML as text: what is between tags, without the title that repeats the status.
fn without_markup(text: &str) -> String {
    if !text.contains('<') {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let from = lower.find("</head>").map_or(0, |it| it + "</head>".len());
    let mut plain = String::new();
    let mut in_tag = false;
    // An opening bracket is markup only where a tag's name follows.
    let mut rest = text[from..].chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '<' if rest
                .peek()
                .is_some_and(|it| it.is_ascii_alphabetic() || matches!(it, '/' | '!')) =>
            {
                in_tag = true;
                plain.push(' ');
            }
            '>' if in_tag => in_tag = false,
            _ if in_tag => {}
            _ => plain.push(c),
        }
    }
    plain
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_s_style_is_understood() {
        for (body, expected) in [
            (
                r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#,
                "The request you have made requires authentication.",
            ),
            (
                r#"{"badRequest":{"code":400,"message":"Invalid imageRef provided."}}"#,
                "Invalid imageRef provided.",
            ),
            (
                r#"{"conflictingRequest":{"code":409,"message":"Cannot 'createImage' instance"}}"#,
                "Cannot 'createImage' instance",
            ),
            (
                r#"{"NeutronError":{"type":"PortNotFound","message":"Port x could not be found.","detail":""}}"#,
                "Port x could not be found.",
            ),
            (r#"{"NeutronError":"No more IP addresses"}"#, "No more IP addresses"),
            (
                r#"{"errors":[{"status":409,"title":"Conflict","detail":"There was a conflict"}]}"#,
                "There was a conflict",
            ),
            (
                r#"{"error_message":"{\"faultcode\":\"Client\",\"faultstring\":\"no such node\"}"}"#,
                "no such node",
            ),
            (
                r#"{"message":"The server is currently unavailable.<br /><br />\nThe Keystone service is temporarily unavailable.\n\n","code":"503 Service Unavailable","title":"Service Unavailable"}"#,
                "The server is currently unavailable. The Keystone service is temporarily unavailable.",
            ),
            (
                "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image found with ID x<br /><br />\n </body>\n</html>",
                "404 Not Found No image found with ID x",
            ),
            ("upstream connect error", "upstream connect error"),
            ("", ""),
            ("{}", ""),
            ("volume 1 < 2 & 3 > 1", "volume 1 < 2 & 3 > 1"),
        ] {
            assert_eq!(message(body.as_bytes(), &[]), expected, "{body}");
        }
    }

    #[test]
    fn what_was_sent_is_not_said_back() {
        let user_data = "cGFzc3dvcmQ9aHVudGVyMgo=".repeat(40);
        let body = format!(
            r#"{{"badRequest":{{"message":"Invalid input for field/attribute user_data. Value: {user_data}. '{user_data}' is too long"}}}}"#
        );
        let said = message(body.as_bytes(), &[]);
        assert!(!said.contains("cGFzc3"), "{said}");
        assert!(said.starts_with("Invalid input for field/attribute user_data"), "{said}");
        assert_eq!(
            message(br#"{"message":"bad password hunter2!"}"#, &["hunter2".into()]),
            "bad password <withheld>!"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_body_is_too_strange(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let said = message(&body, &[]);
            proptest::prop_assert!(said.chars().count() <= LONGEST + 1);
        }
    }
}
