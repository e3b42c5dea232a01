//! Signatures of POSTs, by Standard Webhooks 1.0 (<https://www.standardwebhooks.com>): `HMAC-SHA256(id.timestamp.body)`.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::hmac;

use zerottl_core::model::HookKey;

/// Returns the value of `webhook-signature`: one signature for each key, so that a key can be changed with none refused.
pub(crate) fn signatures(keys: &[HookKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    let one = |HookKey(key): &HookKey| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    };
    keys.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_examples_signature_is_made() {
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let key = HookKey(key.into());
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&key), id, at, body), one);
        assert_eq!(signatures(&[key.clone(), key], id, at, body), format!("{one} {one}"));
    }
}
