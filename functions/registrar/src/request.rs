//! A request of CloudFormation, in two readings: the few fields that any answer needs, and the whole.

use std::fmt;

use serde_json::Value;

/// Where CloudFormation waits for the answer. The address is signed, so whoever has it can answer: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseUrl(String);

impl ResponseUrl {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ResponseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseUrl(…)")
    }
}

/// What an answer needs. It is read first and by itself, so that a request which is wrong in any other way is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where to answer.
    pub response_url: ResponseUrl,
    /// The stack.
    pub stack_id: String,
    /// The request.
    pub request_id: String,
    /// The name of the resource in the template.
    pub logical_id: String,
    /// What CloudFormation knows the resource by, once it exists.
    pub physical_id: Option<String>,
}

impl Envelope {
    /// Reads the envelope of an event; `None` if nobody waits for an answer.
    pub fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            response_url: ResponseUrl(text("ResponseURL")?),
            stack_id: text("StackId")?,
            request_id: text("RequestId")?,
            logical_id: text("LogicalResourceId")?,
            physical_id: text("PhysicalResourceId"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_envelope_is_read_although_the_rest_is_wrong() {
        let event = json!({
            "ResponseURL": "https://example.com/?secret", "StackId": "s", "RequestId": "r",
            "LogicalResourceId": "l", "RequestType": 7,
        });
        let envelope = Envelope::read(&event).expect("an envelope");
        assert_eq!((envelope.stack_id.as_str(), envelope.physical_id.as_deref()), ("s", None));
        assert_eq!(Envelope::read(&json!({ "RequestType": "Create" })), None);
    }

    #[test]
    fn the_signed_address_is_not_shown() {
        let shown = format!("{:?}", ResponseUrl::new("https://example.com/?secret"));
        assert!(!shown.contains("secret") && !shown.contains("example"), "{shown}");
    }
}
