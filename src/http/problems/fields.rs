//! What can be wrong with one field of a request, and the collector that reports all of it at once.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::language::Language;
use crate::http::problem::Problem;

/// What is wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is not there.
    Required,
    /// It should not be there.
    Unknown,
    /// It is a number where a text is wanted, or the like.
    WrongType,
    /// It is none of the values that mean something.
    InvalidValue,
    /// It contains U+0000, which no store takes.
    ContainsNul,
    /// It is longer than `max` characters.
    TooLong { max: usize },
    /// It is no e-mail address.
    InvalidEmail,
    /// It is no phone number that can be called.
    InvalidPhone,
    /// It is no key that a request can be known by.
    InvalidIdempotencyKey,
    /// Consent was not given.
    ConsentNeeded,
}

impl Fault {
    /// What a person reads.
    fn text(self, language: Language) -> Cow<'static, str> {
        let (english, arabic) = match self {
            Self::Required => ("This field is required.", "هذا الحقل مطلوب."),
            Self::Unknown => ("This field is not known here.", "هذا الحقل غير معروف هنا."),
            Self::WrongType => ("This value has the wrong type.", "نوع هذه القيمة غير صحيح."),
            Self::InvalidValue => ("This value is not allowed.", "هذه القيمة غير مسموح بها."),
            Self::ContainsNul => (
                "This text contains the character U+0000.",
                "يحتوي هذا النص على المحرف U+0000 غير المسموح به.",
            ),
            Self::TooLong { max } => {
                return match language {
                    Language::English => format!("At most {max} characters are allowed.").into(),
                    Language::Arabic => format!("الحد الأقصى لعدد الأحرف هو {max}.").into(),
                };
            }
            Self::InvalidEmail => {
                ("This is not an e-mail address.", "هذا ليس عنوان بريد إلكتروني صحيحًا.")
            }
            Self::InvalidPhone => (
                "This is not a mobile number in a form we know, such as 05XXXXXXXX.",
                "هذا ليس رقم جوال بصيغة نعرفها، مثل 05XXXXXXXX.",
            ),
            Self::InvalidIdempotencyKey => (
                "One key of 1 to 255 visible ASCII characters is wanted.",
                "المطلوب مفتاح واحد من 1 إلى 255 من محارف ASCII المرئية.",
            ),
            Self::ConsentNeeded => ("Consent is needed.", "الموافقة مطلوبة."),
        };
        match language {
            Language::English => english.into(),
            Language::Arabic => arabic.into(),
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// Where: a JSON pointer into the body, or `/name` of a parameter.
    pub pointer: Cow<'static, str>,
    /// What.
    pub fault: Fault,
}

impl FieldError {
    pub(crate) fn in_language(&self, language: Language) -> LocalFieldError {
        LocalFieldError {
            pointer: self.pointer.clone().into_owned(),
            detail: self.fault.text(language),
        }
    }
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct LocalFieldError {
    /// A JSON pointer into the body, or `/name` of a parameter.
    #[schema(examples("/customer_email"))]
    pointer: String,
    /// What is wrong with it, for people, in the client's language.
    #[schema(value_type = String, examples("This is not an e-mail address."))]
    detail: Cow<'static, str>,
}

/// Collects what is wrong with the fields of a request, so that the client learns all of it at once.
///
/// Parse every field first, then take them all or refuse:
/// `let (Some(email), Some(name)) = (email, name) else { return Err(fields.refuse()) };`
#[derive(Debug, Default)]
pub struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// Parses a field that must be there.
    pub fn required<R, T, E: Into<Fault>>(
        &mut self,
        pointer: &'static str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<T> {
        let Some(raw) = raw else {
            self.wrong(pointer, Fault::Required);
            return None;
        };
        self.keep(pointer, parse(raw))
    }

    /// Parses a field that may be missing; `Some(None)` then.
    #[expect(clippy::option_option, reason = "wrong, missing and right are three outcomes")]
    pub fn optional<R, T, E: Into<Fault>>(
        &mut self,
        pointer: &'static str,
        raw: Option<R>,
        parse: impl FnOnce(R) -> Result<T, E>,
    ) -> Option<Option<T>> {
        match raw {
            None => Some(None),
            Some(raw) => self.keep(pointer, parse(raw)).map(Some),
        }
    }

    /// Notes what is wrong with a field.
    pub fn wrong(&mut self, pointer: impl Into<Cow<'static, str>>, fault: Fault) {
        self.errors.push(FieldError { pointer: pointer.into(), fault });
    }

    /// The answer to a request whose fields are wrong.
    pub fn refuse(self) -> Problem {
        Problem::InvalidRequest(self.errors)
    }

    fn keep<T, E: Into<Fault>>(&mut self, at: &'static str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.wrong(at, error.into())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(raw: &str) -> Result<usize, Fault> {
        if raw.len() > 3 { Err(Fault::TooLong { max: 3 }) } else { Ok(raw.len()) }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_nothing_that_is_right() {
        let mut fields = Fields::default();
        assert_eq!(fields.required("/a", Some("abc"), short), Some(3));
        assert_eq!(fields.optional("/b", Some("ab"), short), Some(Some(2)));
        assert_eq!(fields.optional("/c", None, short), Some(None));
        assert_eq!(fields.required("/d", None, short), None);
        assert_eq!(fields.required("/e", Some("long"), short), None);
        assert_eq!(fields.optional("/f", Some("long"), short), None);
        let Problem::InvalidRequest(errors) = fields.refuse() else { panic!("another problem") };
        let told: Vec<_> = errors.iter().map(|error| (&*error.pointer, error.fault)).collect();
        let too_long = Fault::TooLong { max: 3 };
        assert_eq!(told, [("/d", Fault::Required), ("/e", too_long), ("/f", too_long)]);
    }

    #[test]
    fn every_fault_speaks_both_languages() {
        let is_arabic =
            |text: &str| text.chars().any(|letter| ('\u{600}'..='\u{6ff}').contains(&letter));
        for fault in [
            Fault::Required,
            Fault::Unknown,
            Fault::WrongType,
            Fault::InvalidValue,
            Fault::ContainsNul,
            Fault::TooLong { max: 80 },
            Fault::InvalidEmail,
            Fault::InvalidPhone,
            Fault::InvalidIdempotencyKey,
            Fault::ConsentNeeded,
        ] {
            let error = FieldError { pointer: "/a/0".into(), fault };
            let english = error.in_language(Language::English);
            let arabic = error.in_language(Language::Arabic);
            assert_eq!((&*english.pointer, &*arabic.pointer), ("/a/0", "/a/0"));
            assert!(english.detail.ends_with('.') && !is_arabic(&english.detail), "{fault:?}");
            assert!(arabic.detail.ends_with('.') && is_arabic(&arabic.detail), "{fault:?}");
        }
    }
}
