//! E-mail addresses.

use std::fmt;
use std::str::FromStr;

use email_address::EmailAddress;

/// An address that mail can be sent to, as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The text is no e-mail address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoEmail;

impl Email {
    /// Reads `local@domain.tld`; display names, quotes, comments and bare hosts are refused.
    pub fn parse(text: &str) -> Result<Self, NoEmail> {
        let text = text.trim();
        let address = EmailAddress::from_str(text).map_err(|_| NoEmail)?;
        let is_plain = address.as_str() == text && !text.contains(['"', '[', '<', ' ']);
        let has_tld = address.domain().contains('.') && !address.domain().ends_with('.');
        (is_plain && has_tld && text.len() <= 254).then(|| Self(text.to_owned())).ok_or(NoEmail)
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as a key: two spellings of one mailbox are one customer.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

/// Never shows the address: it is personal data.
impl fmt::Debug for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_written_and_compared_in_lower_case() {
        let email = Email::parse(" Buyer+Test@Example.COM.sa ").unwrap();
        assert_eq!(email.as_str(), "Buyer+Test@Example.COM.sa");
        assert_eq!(email.key(), "buyer+test@example.com.sa");
        assert_eq!(format!("{email:?}"), "Email(…)");
    }

    #[test]
    fn what_no_mail_server_takes_is_refused() {
        let too_long = format!("{}@{}.sa", "a".repeat(64), "b.".repeat(100));
        for text in [
            "",
            "a",
            "a@",
            "@b.sa",
            "a@b",
            "a b@c.sa",
            "a@b..sa",
            "a@b.sa.",
            "A <a@b.sa>",
            "\"a b\"@c.sa",
            "a@[203.0.113.1]",
            "a@@b.sa",
            "a@b.sa, c@d.sa",
            too_long.as_str(),
        ] {
            assert_eq!(Email::parse(text), Err(NoEmail), "{text}");
        }
    }
}
