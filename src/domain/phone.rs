//! Phone numbers: Saudi mobiles in every spelling that people use, other countries' in E.164.

use std::fmt;

/// A phone number in E.164: `+9665…` for Saudi mobiles.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

/// Why a text is no phone number of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PhoneError {
    /// It is no phone number.
    Malformed,
    /// It is a Saudi number that cannot receive messages.
    NoMobile,
}

impl Phone {
    /// Reads `05…`, `5…`, `9665…`, `009665…`, `+9665…` in Latin, Arabic-Indic or Persian digits, and any
    /// other country's number that is written with `+` or `00`.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let mut digits = String::with_capacity(16);
        let mut is_international = false;
        for letter in text.trim().chars() {
            match letter {
                '+' if digits.is_empty() && !is_international => is_international = true,
                ' '
                | '-'
                | '('
                | ')'
                | '.'
                | '\u{a0}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}' => (),
                letter => digits.push(latin_digit(letter).ok_or(PhoneError::Malformed)?),
            }
        }
        if let (false, Some(rest)) = (is_international, digits.strip_prefix("00")) {
            digits = rest.to_owned();
            is_international = true;
        }
        let is_saudi = digits.starts_with("966") && (is_international || digits.len() == 12);
        if is_saudi {
            let national = digits.get(3..).unwrap_or_default();
            // Many people keep the trunk zero after the country code.
            return saudi(national.strip_prefix('0').unwrap_or(national));
        }
        if is_international {
            let is_plausible = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
            return is_plausible.then(|| Self(format!("+{digits}"))).ok_or(PhoneError::Malformed);
        }
        match digits.strip_prefix('0') {
            Some(national) => saudi(national),
            None if digits.starts_with('5') => saudi(&digits),
            None => Err(PhoneError::Malformed),
        }
    }

    /// The number in E.164.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number without its country code and trunk zero: mobiles are `5` and eight digits.
fn saudi(national: &str) -> Result<Phone, PhoneError> {
    match (national.starts_with('5'), national.len()) {
        (true, 9) => Ok(Phone(format!("+966{national}"))),
        // Land lines (11, 12, …), toll-free (800) and unified (9200) numbers.
        (false, 7..=10) => Err(PhoneError::NoMobile),
        (true | false, _) => Err(PhoneError::Malformed),
    }
}

fn latin_digit(letter: char) -> Option<char> {
    let value = match letter {
        '0'..='9' => return Some(letter),
        '\u{660}'..='\u{669}' => u32::from(letter) - 0x660,
        '\u{6f0}'..='\u{6f9}' => u32::from(letter) - 0x6f0,
        _ => return None,
    };
    char::from_digit(value, 10)
}

/// Never shows the number: it is personal data.
impl fmt::Debug for Phone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Phone(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_saudi_mobile_is_one_number() {
        for text in [
            "0512345678",
            "512345678",
            "966512345678",
            "+966512345678",
            "00966512345678",
            "+966 51 234 5678",
            "(05) 1234-5678",
            "05.12.34.56.78",
            "+9660512345678",
            "٠٥١٢٣٤٥٦٧٨",
            "۰۵۱۲۳۴۵۶۷۸",
            "+٩٦٦ ٥١٢٣٤٥٦٧٨",
            "\u{202a}+966512345678\u{202c}",
        ] {
            assert_eq!(Phone::parse(text).unwrap().as_str(), "+966512345678", "{text}");
        }
    }

    #[test]
    fn a_saudi_number_that_is_no_mobile_is_told_apart() {
        for text in ["0112345678", "+966112345678", "00966920012345", "08001234567"] {
            assert_eq!(Phone::parse(text), Err(PhoneError::NoMobile), "{text}");
        }
    }

    #[test]
    fn other_countries_are_kept_in_e164() {
        assert_eq!(Phone::parse("+971 50 123 4567").unwrap().as_str(), "+971501234567");
        assert_eq!(Phone::parse("00442071234567").unwrap().as_str(), "+442071234567");
        assert_eq!(Phone::parse("+12345678").unwrap().as_str(), "+12345678");
        assert_eq!(Phone::parse("+123456789012345").unwrap().as_str(), "+123456789012345");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            " ",
            "+",
            "abc",
            "05123",
            "051234567890",
            "51234567",
            "5123456789",
            "1234567890",
            "++966512345678",
            "05+12345678",
            "+1234567",
            "+1234567890123456",
            "+0512345678",
            "0",
            "+96651234567",
            "+9665123456789",
            "+966",
            "966512345",
            "05123x5678",
        ] {
            assert_eq!(Phone::parse(text), Err(PhoneError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_debug_print_does_not_show_it() {
        assert_eq!(format!("{:?}", Phone::parse("0512345678").unwrap()), "Phone(…)");
    }

    proptest! {
        #[test]
        fn what_was_parsed_parses_to_itself(text in "[+0-9٠-٩ ()-]{0,20}") {
            if let Ok(phone) = Phone::parse(&text) {
                prop_assert_eq!(Phone::parse(phone.as_str()), Ok(phone));
            }
        }
    }
}
