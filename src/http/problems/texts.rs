//! What every kind of failure says, in English and Arabic.

use crate::http::language::Language;
use crate::http::problems::Code;

/// The words of one kind of failure in one language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Texts {
    /// What kind of failure it is.
    pub title: &'static str,
    /// What happened and what to do about it.
    pub detail: &'static str,
}

impl Code {
    /// The words. No wildcard: a new kind must bring its own, in both languages.
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    pub const fn texts(self, language: Language) -> Texts {
        let (english, arabic) = match self {
            Self::RouteNotFound => (
                text(
                    "Route not found",
                    "There is nothing at this path. The routes are listed at /docs.",
                ),
                text(
                    "المسار غير موجود",
                    "لا يوجد شيء في هذا المسار. المسارات المتاحة مذكورة في /docs.",
                ),
            ),
            Self::MethodNotAllowed => (
                text(
                    "Method not allowed",
                    "This path does not take this method; see the Allow header.",
                ),
                text(
                    "الطريقة غير مسموح بها",
                    "لا يقبل هذا المسار هذه الطريقة؛ راجع الترويسة Allow.",
                ),
            ),
            Self::InvalidJson => (
                text(
                    "Invalid JSON",
                    "The body is not valid JSON in UTF-8, or it is nested deeper than 64 levels.",
                ),
                text(
                    "صيغة JSON غير صالحة",
                    "محتوى الطلب ليس JSON صالحًا بترميز UTF-8، أو أن مستويات تداخله تتجاوز 64.",
                ),
            ),
            Self::UnsupportedMediaType => (
                text("Unsupported media type", "Send the body as application/json."),
                text("نوع المحتوى غير مدعوم", "أرسل محتوى الطلب بنوع application/json."),
            ),
            Self::InvalidRequest => (
                text("The request is invalid", "Some fields are missing or wrong; see errors."),
                text("الطلب غير صالح", "بعض الحقول ناقصة أو غير صحيحة؛ راجع errors."),
            ),
            Self::PayloadTooLarge => (
                text("Body too large", "The body is larger than this route takes."),
                text("محتوى الطلب كبير جدًا", "حجم محتوى الطلب أكبر مما يقبله هذا المسار."),
            ),
            Self::UriTooLong => (
                text("URI too long", "The path and the query together are longer than 8 KiB."),
                text("العنوان طويل جدًا", "طول المسار مع معاملات الاستعلام يتجاوز 8 كيبيبايت."),
            ),
            Self::ClientTooSlow => (
                text(
                    "Request not received in time",
                    "The request did not arrive completely in time. Send it again.",
                ),
                text(
                    "لم يصل الطلب في الوقت المحدد",
                    "لم يصل الطلب كاملًا في الوقت المحدد. أرسله مرة أخرى.",
                ),
            ),
            Self::RequestTimeout => (
                text(
                    "Request timed out",
                    "The request took too long and was given up. Try again later.",
                ),
                text(
                    "انتهت مهلة الطلب",
                    "استغرقت معالجة الطلب وقتًا أطول من المسموح فأُوقفت. حاول مرة أخرى لاحقًا.",
                ),
            ),
            Self::MalformedRequest => (
                text("Malformed request", "This is no HTTP request."),
                text("طلب غير سليم", "هذا ليس طلب HTTP صحيحًا."),
            ),
            Self::HeadTooLarge => (
                text("Request head too large", "The headers are larger than 32 KiB."),
                text("ترويسات الطلب كبيرة جدًا", "حجم ترويسات الطلب يتجاوز 32 كيلوبايت."),
            ),
            Self::Unauthenticated => (
                text(
                    "Authentication required",
                    "Send a valid key in X-API-Key, or a key or token in Authorization: Bearer.",
                ),
                text(
                    "المصادقة مطلوبة",
                    "أرسل مفتاحًا صالحًا في X-API-Key، أو مفتاحًا أو رمز دخول في Authorization: Bearer.",
                ),
            ),
            Self::Forbidden => (
                text("Not allowed", "Your key is valid, but it does not allow this."),
                text("غير مسموح", "مفتاحك صالح، لكنه لا يسمح بهذا الإجراء."),
            ),
            Self::RateLimited => (
                text("Too many requests", "Try again after the time in Retry-After."),
                text(
                    "طلبات كثيرة جدًا",
                    "حاول مرة أخرى بعد المدة المذكورة في الترويسة Retry-After.",
                ),
            ),
            Self::BadSignature => (
                text("Bad webhook signature", "The webhook does not carry the shared secret."),
                text("توقيع الإشعار غير صحيح", "لا يحمل الإشعار السر المشترك الصحيح."),
            ),
            Self::PlanNotFound => (
                text(
                    "Plan not found",
                    "There is no such plan. The plans are listed at /api/v1/pricing/plans.",
                ),
                text(
                    "الباقة غير موجودة",
                    "لا توجد باقة بهذا الاسم. الباقات مذكورة في /api/v1/pricing/plans.",
                ),
            ),
            Self::CheckoutNotFound => (
                text("Checkout not found", "There is no such checkout."),
                text("عملية الشراء غير موجودة", "لا توجد عملية شراء بهذا المعرّف."),
            ),
            Self::ReviewNotFound => (
                text("Review not found", "There is no such review."),
                text("المراجعة غير موجودة", "لا توجد مراجعة بهذا المعرّف."),
            ),
            Self::IdNotFound => (
                text(
                    "Id not found",
                    "Nothing bears that name. It may be a request id, an event, a payment, an \
                     invoice, a checkout, a review, a dead letter or an e-mail address.",
                ),
                text(
                    "المعرّف غير موجود",
                    "لا يوجد شيء بهذا المعرّف. يُقبل معرّف طلب أو إشعار أو دفعة أو فاتورة أو طلب \
                     شراء أو مراجعة أو عنصر متعثر، أو بريد إلكتروني.",
                ),
            ),
            Self::ReviewResolved => (
                text(
                    "Review already resolved",
                    "Somebody has resolved this review before; nothing was changed.",
                ),
                text("المراجعة محسومة", "سبق أن حسم أحدهم هذه المراجعة؛ لم يتغير شيء."),
            ),
            Self::BreakerNotFound => (
                text(
                    "Circuit breaker not found",
                    "There is no such circuit breaker. They are listed at /api/v1/admin/circuit-breakers.",
                ),
                text(
                    "قاطع الدائرة غير موجود",
                    "لا يوجد قاطع دائرة بهذا الاسم. القواطع مذكورة في /api/v1/admin/circuit-breakers.",
                ),
            ),
            Self::QueueNotFound => (
                text(
                    "Queue not found",
                    "There is no such queue. They are listed at /api/v1/admin/dlq/queues.",
                ),
                text(
                    "الطابور غير موجود",
                    "لا يوجد طابور بهذا الاسم. الطوابير مذكورة في /api/v1/admin/dlq/queues.",
                ),
            ),
            Self::EntryNotFound => (
                text(
                    "Entry not found",
                    "The queue has no such entry; it may have been done or deleted meanwhile.",
                ),
                text(
                    "العنصر غير موجود",
                    "لا يوجد هذا العنصر في الطابور؛ ربما أُنجز أو حُذف في هذه الأثناء.",
                ),
            ),
            Self::EntryInFlight => (
                text(
                    "Entry in flight",
                    "Somebody is replaying this entry right now. Try again in a moment.",
                ),
                text("العنصر قيد المعالجة", "تجري معالجة هذا العنصر الآن. حاول مرة أخرى بعد لحظات."),
            ),
            Self::NotEditable => (
                text(
                    "Entry cannot be edited",
                    "Only entries of outbound and crm_sync can be edited; money events are fetched again.",
                ),
                text(
                    "لا يمكن تعديل العنصر",
                    "يمكن تعديل عناصر outbound وcrm_sync فقط؛ أما أحداث الدفع فيُعاد جلبها من المصدر.",
                ),
            ),
            Self::RedriveNotFound => (
                text(
                    "Redrive not found",
                    "The queue has no such redrive. Its last ones are listed at /api/v1/admin/dlq/{queue}/redrive.",
                ),
                text(
                    "إعادة التشغيل غير موجودة",
                    "لا توجد إعادة تشغيل بهذا المعرّف لهذا الطابور. آخرها مذكورة في /api/v1/admin/dlq/{queue}/redrive.",
                ),
            ),
            Self::RedriveActive => (
                text(
                    "Redrive in progress",
                    "The queue has a redrive that runs or is paused. Let it end, or cancel it.",
                ),
                text(
                    "إعادة تشغيل جارية",
                    "لهذا الطابور إعادة تشغيل جارية أو موقوفة مؤقتًا. انتظر انتهاءها أو ألغِها.",
                ),
            ),
            Self::RedriveOver => (
                text("Redrive is over", "This redrive has ended. Order another one."),
                text("انتهت إعادة التشغيل", "انتهت إعادة التشغيل هذه. اطلب واحدة جديدة."),
            ),
            Self::QueueUnavailable => (
                text(
                    "Queues unavailable",
                    "The dead-letter queues do not answer right now. Nothing is known to be lost; try again later.",
                ),
                text(
                    "الطوابير غير متاحة",
                    "لا تستجيب طوابير الرسائل المتعثرة الآن. لا يُعرف ضياع أي شيء؛ حاول مرة أخرى لاحقًا.",
                ),
            ),
            Self::UnknownPlan => (
                text(
                    "Unknown plan",
                    "There is no such plan. The plans are listed at /api/v1/pricing/plans.",
                ),
                text(
                    "باقة غير معروفة",
                    "لا توجد باقة بهذا الاسم. الباقات مذكورة في /api/v1/pricing/plans.",
                ),
            ),
            Self::InvalidEmail => (
                text("Invalid e-mail address", "The e-mail address is not valid."),
                text("عنوان البريد الإلكتروني غير صحيح", "عنوان البريد الإلكتروني غير صحيح."),
            ),
            Self::IdempotencyKeyReused => (
                text(
                    "Idempotency key reused",
                    "This Idempotency-Key was used for another request. Take a new one.",
                ),
                text(
                    "مفتاح التكرار مستخدم",
                    "استُخدمت قيمة Idempotency-Key هذه لطلب آخر. استخدم قيمة جديدة.",
                ),
            ),
            Self::RequestInProgress => (
                text(
                    "Request in progress",
                    "The same request is being processed. Ask again after the time in Retry-After.",
                ),
                text(
                    "الطلب قيد المعالجة",
                    "الطلب نفسه قيد المعالجة. أعد المحاولة بعد المدة المذكورة في Retry-After.",
                ),
            ),
            Self::PaymentGatewayError => (
                text(
                    "Payment gateway error",
                    "The payment gateway did not accept the request. Nothing was charged. Try again later.",
                ),
                text(
                    "خطأ في بوابة الدفع",
                    "لم تقبل بوابة الدفع الطلب، ولم يُخصم أي مبلغ. حاول مرة أخرى لاحقًا.",
                ),
            ),
            Self::PaymentProviderError => (
                text(
                    "Payment provider error",
                    "The payment provider did not accept the request. Nothing was charged. Try again later.",
                ),
                text(
                    "خطأ لدى مزود الدفع",
                    "لم يقبل مزود الدفع الطلب، ولم يُخصم أي مبلغ. حاول مرة أخرى لاحقًا.",
                ),
            ),
            Self::UpstreamUnavailable => (
                text(
                    "Service temporarily unavailable",
                    "A service we depend on does not answer. Try again after the time in Retry-After.",
                ),
                text(
                    "الخدمة غير متاحة مؤقتًا",
                    "إحدى الخدمات التي نعتمد عليها لا تستجيب. حاول مرة أخرى بعد المدة المذكورة في Retry-After.",
                ),
            ),
            Self::StorageUnavailable => (
                text(
                    "Storage temporarily unavailable",
                    "Our storage does not answer. Try again after the time in Retry-After.",
                ),
                text(
                    "التخزين غير متاح مؤقتًا",
                    "نظام التخزين لدينا لا يستجيب. حاول مرة أخرى بعد المدة المذكورة في Retry-After.",
                ),
            ),
            Self::ProblemNotFound => (
                text("Problem not found", "There is no problem of this code."),
                text("المشكلة غير موجودة", "لا توجد مشكلة بهذا الرمز."),
            ),
            Self::Internal => (
                text(
                    "Internal error",
                    "Something went wrong on our side. Quote the request_id when you ask us for help.",
                ),
                text("خطأ داخلي", "حدث خطأ من جانبنا. اذكر قيمة request_id عند طلب المساعدة."),
            ),
        };
        match language {
            Language::English => english,
            Language::Arabic => arabic,
        }
    }
}

const fn text(title: &'static str, detail: &'static str) -> Texts {
    Texts { title, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_speaks_both_languages_and_is_named_once() {
        let is_arabic =
            |text: &str| text.chars().any(|letter| ('\u{600}'..='\u{6ff}').contains(&letter));
        for (position, code) in Code::ALL.iter().enumerate() {
            let name = code.name();
            assert!(
                name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'),
                "{name}"
            );
            assert_eq!(serde_json::to_value(code).unwrap(), name);
            assert_eq!(Code::ALL.iter().position(|other| other.name() == name), Some(position));
            assert!(code.status().is_client_error() || code.status().is_server_error());
            let (english, arabic) = (code.texts(Language::English), code.texts(Language::Arabic));
            assert!(!is_arabic(english.title) && !is_arabic(english.detail), "{name}");
            assert!(is_arabic(arabic.title) && is_arabic(arabic.detail), "{name}");
        }
    }
}
