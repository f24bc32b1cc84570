//! The payment page's words, in English and in Arabic.

use url::form_urlencoded;

/// The page's words in one language.
pub(super) struct Words {
    pub(super) lang: &'static str,
    pub(super) dir: &'static str,
    pub(super) other: (&'static str, &'static str),
    pub(super) title: &'static str,
    pub(super) sandbox: &'static str,
    pub(super) amount: &'static str,
    pub(super) name: &'static str,
    pub(super) number: &'static str,
    pub(super) expiry: &'static str,
    pub(super) cvc: &'static str,
    pub(super) pay: &'static str,
    pub(super) back: &'static str,
    pub(super) declined: &'static str,
    pub(super) try_again: &'static str,
    pub(super) mistakes: &'static str,
    pub(super) paid: &'static str,
    pub(super) expired: &'static str,
    pub(super) canceled: &'static str,
    pub(super) closed: &'static str,
    pub(super) missing: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    dir: "ltr",
    other: ("ar", "العربية"),
    title: "Pay your invoice",
    sandbox: "Sandbox: no real money moves here. Only the documented test cards work.",
    amount: "Amount",
    name: "Name on card",
    number: "Card number",
    expiry: "Expiry (MM/YY)",
    cvc: "Security code (CVC)",
    pay: "Pay",
    back: "Back to the shop",
    declined: "The payment was declined.",
    try_again: "Nothing was charged. You can try another card.",
    mistakes: "Please correct the marked fields.",
    paid: "This invoice is paid. Thank you.",
    expired: "This invoice has expired and takes no payment.",
    canceled: "This invoice was canceled and takes no payment.",
    closed: "This invoice takes no payment any more.",
    missing: "There is no such invoice.",
};

const ARABIC: Words = Words {
    lang: "ar",
    dir: "rtl",
    other: ("en", "English"),
    title: "ادفع فاتورتك",
    sandbox: "بيئة تجريبية: لا تُنقل هنا أموال حقيقية، ولا تعمل إلا بطاقات الاختبار الموثقة.",
    amount: "المبلغ",
    name: "الاسم على البطاقة",
    number: "رقم البطاقة",
    expiry: "تاريخ الانتهاء (شهر/سنة)",
    cvc: "رمز الأمان (CVC)",
    pay: "ادفع",
    back: "العودة إلى المتجر",
    declined: "رُفضت عملية الدفع.",
    try_again: "لم يُخصم أي مبلغ، ويمكنك تجربة بطاقة أخرى.",
    mistakes: "يرجى تصحيح الحقول المعلَّمة.",
    paid: "هذه الفاتورة مدفوعة. شكرًا لك.",
    expired: "انتهت صلاحية هذه الفاتورة ولا يمكن دفعها.",
    canceled: "أُلغيت هذه الفاتورة ولا يمكن دفعها.",
    closed: "لم يعد بالإمكان دفع هذه الفاتورة.",
    missing: "لا توجد فاتورة بهذا الرقم.",
};

impl Words {
    pub(super) fn of(query: Option<&str>) -> &'static Self {
        let is_arabic = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .any(|(name, value)| name == "lang" && value == "ar");
        if is_arabic { &ARABIC } else { &ENGLISH }
    }
}
