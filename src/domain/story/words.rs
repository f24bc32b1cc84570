//! What the things of a story and what happened to them are called in English and Arabic.

use super::{Actor, Thing};
use crate::domain::checkout::Locale;

/// How a thing stands, in a sentence.
pub(super) fn actor(actor: &Actor, locale: Locale) -> String {
    let state = word(&actor.state, locale);
    let more = actor.more.as_deref().map(|more| word(more, locale));
    let sar = actor.amount.map(|amount| amount.riyals().to_string());
    let text = match locale {
        Locale::En => {
            let sum = sar.map_or_else(String::new, |sar| format!(" of {sar} SAR"));
            format!("{}{sum}: {state}", thing(actor.thing, locale))
        }
        Locale::Ar => {
            let sum = sar.map_or_else(String::new, |sar| format!(" بمبلغ {sar} ريال"));
            format!("{}{sum}: {state}", thing(actor.thing, locale))
        }
    };
    let failures = (actor.failures > 0).then(|| match locale {
        Locale::En => format!("failed attempts: {}", actor.failures),
        Locale::Ar => format!("محاولات فاشلة: {}", actor.failures),
    });
    let parts = [Some(text), more.map(str::to_owned), failures];
    let separator = match locale {
        Locale::En => "; ",
        Locale::Ar => "؛ ",
    };
    format!("{}.", parts.into_iter().flatten().collect::<Vec<_>>().join(separator))
}

fn thing(thing: Thing, locale: Locale) -> &'static str {
    let (english, arabic) = match thing {
        Thing::Checkout => ("A checkout", "طلب شراء"),
        Thing::Invoice => ("An invoice", "فاتورة"),
        Thing::Payment => ("A payment", "دفعة"),
        Thing::Event => ("A webhook event", "إشعار دفع"),
        Thing::Review => ("A question to a person", "مسألة تحتاج قرار مسؤول"),
        Thing::AnalyticsEvent => ("An analytics event", "حدث تحليلي"),
        Thing::Request => ("A request", "طلب"),
        Thing::DeadLetter => ("A dead letter", "عنصر متعثر"),
        Thing::Email => ("A customer", "عميل"),
        Thing::Subscription => ("A subscription", "اشتراك"),
    };
    in_language(english, arabic, locale)
}

/// A word of a table in the words of people; one that is not known here stays as it is.
fn word(state: &str, locale: Locale) -> &str {
    let (english, arabic) = match state {
        "opening" => {
            ("nobody knows yet whether there is an invoice", "لم يُعرف بعد هل أُنشئت الفاتورة")
        }
        "pending" => ("waits", "قيد الانتظار"),
        "refused" => ("refused", "مرفوض"),
        "paid" => ("paid", "مدفوع"),
        "refunded" => ("given back", "مُسترد"),
        "failed" => ("failed", "فشل"),
        "expired" => ("its time is over", "انتهت مدته"),
        "canceled" => ("called off", "ملغى"),
        "review" => ("a person must look", "يحتاج إلى مراجعة مسؤول"),
        "received" => ("waits to be settled", "بانتظار المعالجة"),
        "done" => ("settled", "تمت معالجته"),
        "ignored" => ("moves no money", "لا أثر مالي له"),
        "open" => ("open", "لا يزال مفتوحًا"),
        "resolved" => ("resolved", "حُسم"),
        "held" => (
            "nothing was granted for it, a person must look",
            "لم يُمنح مقابله شيء ويحتاج إلى مراجعة",
        ),
        "returned" => ("it was held, and given back", "حُجز ثم أُعيد"),
        "granted" => ("what was bought was granted", "مُنح العميل ما اشتراه"),
        "reversed" => ("what was granted was taken back", "سُحب ما مُنح"),
        "authorized" => ("a hold on the card, no money yet", "حجز على البطاقة دون خصم"),
        "captured" => ("charged", "خُصم"),
        "voided" => ("undone", "أُلغيت العملية"),
        "initiated" => ("waits for the payer", "بانتظار الدافع"),
        "abandoned" => ("left by the payer", "تركها الدافع"),
        "active" => ("active", "فعّال"),
        "past_due" => ("past its end, still usable", "انتهت مدته ولا يزال في مهلة السماح"),
        "ready" => ("is due", "حان وقت إعادته"),
        "scheduled" => ("waits for its next attempt", "بانتظار المحاولة التالية"),
        "in_flight" => ("is being tried", "قيد المحاولة"),
        "dead" => ("given up, an operator decides", "توقفت محاولاته والقرار للمسؤول"),
        "surplus" => ("one too many", "زائدة عن الحاجة"),
        "payable" => ("can be paid", "قابلة للدفع"),
        "closed" => ("no longer to be paid", "لم تعد قابلة للدفع"),
        "sent" => ("sent", "أُرسل"),
        "skipped" => ("not sent, analytics is off", "لم يُرسل لأن التحليلات معطلة"),
        _ => return state,
    };
    in_language(english, arabic, locale)
}

/// What happened, in a sentence.
pub(super) fn happening(what: &str, locale: Locale) -> &'static str {
    let (english, arabic) = match what {
        "checkout_started" => ("Somebody began to buy.", "بدأ عميل عملية شراء."),
        "checkout_opened" => ("The buyer got a payment page.", "حصل المشتري على صفحة الدفع."),
        "invoice_stored" => ("Moyasar's invoice was noted.", "سُجلت فاتورة ميسّر."),
        "attempt_ended" => ("An attempt to pay ended.", "انتهت محاولة دفع."),
        "provider_asked" => {
            ("Moyasar was last asked what became of it.", "آخر استعلام لدى ميسّر عن الطلب.")
        }
        "checkout_paid" => ("It was paid.", "تم الدفع."),
        "payment_recorded" => ("The payment was first recorded.", "سُجلت الدفعة لأول مرة."),
        "payment_effect" => ("The payment had an effect.", "ترتب أثر على الدفعة."),
        "webhook_received" => ("Moyasar told of something.", "وصل إشعار من ميسّر."),
        "webhook_handed_over" => (
            "Its attempts were used up; the dead-letter queue has it.",
            "استُنفدت محاولاته وانتقل إلى قائمة المتعثرات.",
        ),
        "letter_written" => ("It went to a dead-letter queue.", "انتقل إلى قائمة المتعثرات."),
        "letter_tried" => ("It was last tried, in vain.", "آخر محاولة له لم تنجح."),
        "webhook_settled" => ("It was settled.", "تمت معالجته."),
        "review_opened" => ("A person was asked.", "طُلب قرار مسؤول."),
        "review_resolved" => ("A person decided.", "اتخذ مسؤول قرارًا."),
        "analytics_event" => ("Analytics is told.", "سُجل حدث تحليلي."),
        "audit" => ("Something was changed.", "حدث تغيير."),
        _ => ("Something happened.", "حدث شيء."),
    };
    in_language(english, arabic, locale)
}

fn in_language<'a>(english: &'a str, arabic: &'a str, locale: Locale) -> &'a str {
    match locale {
        Locale::En => english,
        Locale::Ar => arabic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Halalas;

    #[test]
    fn a_thing_is_told_with_its_money_its_standing_and_its_failures() {
        let payment = Actor {
            thing: Thing::Payment,
            id: Some("p".to_owned()),
            state: "paid".to_owned(),
            more: Some("held".to_owned()),
            amount: Some(Halalas(99_050)),
            failures: 2,
        };
        assert_eq!(
            actor(&payment, Locale::En),
            "A payment of 990.50 SAR: paid; nothing was granted for it, a person must look; failed \
             attempts: 2."
        );
        assert_eq!(
            actor(&payment, Locale::Ar),
            "دفعة بمبلغ 990.50 ريال: مدفوع؛ لم يُمنح مقابله شيء ويحتاج إلى مراجعة؛ محاولات فاشلة: 2."
        );
        let odd = Actor {
            state: "of tomorrow".to_owned(),
            more: None,
            amount: None,
            failures: 0,
            ..payment
        };
        assert_eq!(actor(&odd, Locale::En), "A payment: of tomorrow.");
    }
}
