//! What each problem is called in English and Arabic, and what to type about it.

use super::{Found, Kind, Problem};

/// All of it in one sentence, English and Arabic.
pub(super) fn summary(problems: &[Problem]) -> (String, String) {
    let Some(worst) = problems.first() else {
        return ("All is well.".to_owned(), "كل شيء على ما يرام.".to_owned());
    };
    if problems.len() == 1 {
        return (worst.message_en.clone(), worst.message_ar.clone());
    }
    let number = problems.len();
    (
        format!("{number} problems. The worst: {}", worst.message_en),
        format!("عدد المشكلات {number}، وأهمها: {}", worst.message_ar),
    )
}

/// One problem in a sentence or two, English and Arabic.
pub(super) fn messages(found: &Found) -> (String, String) {
    let (count, about) = (found.count, found.about.as_deref().unwrap_or_default());
    let sar = found.amount.riyals();
    match found.kind {
        Kind::ApiDown => (
            "The API does not answer: nobody can buy.".to_owned(),
            "واجهة الخدمة لا تستجيب، ولا يمكن لأحد الشراء.".to_owned(),
        ),
        Kind::PostgresAway => (
            format!(
                "The database is away ({about}). No sale can start; webhooks are kept in Redis."
            ),
            format!(
                "قاعدة البيانات غير متاحة ({about}). لا يمكن بدء أي عملية بيع، وإشعارات الدفع تُحفظ مؤقتًا في Redis."
            ),
        ),
        Kind::RedisAway => (
            format!(
                "Redis is away ({about}). Sales go on, but nothing catches a webhook that the database misses."
            ),
            format!(
                "خادم Redis غير متاح ({about}). البيع مستمر، لكن لا بديل يحفظ إشعارات الدفع إذا تعطلت قاعدة البيانات."
            ),
        ),
        Kind::RedisNotDurable => (
            format!("Redis may forget what it acknowledged ({about})."),
            format!("قد يفقد Redis ما أكّد حفظه ({about})."),
        ),
        Kind::MigrationsMissing => (
            format!("The database lacks {count} migrations of this release."),
            format!("تنقص قاعدة البيانات ترقيات هذا الإصدار، وعددها {count}."),
        ),
        Kind::PaidNotGranted => (
            format!(
                "{count} payments were taken and nothing was granted for them: a person must decide ({sar} SAR)."
            ),
            format!(
                "مدفوعات استُلمت ولم يُمنح مقابلها شيء وتحتاج قرار مسؤول، عددها {count} ({sar} ريال)."
            ),
        ),
        Kind::EventsWaiting => (
            format!("{count} payment events are not settled yet; they speak of {sar} SAR."),
            format!("إشعارات دفع لم تُعالج بعد، عددها {count}، ومجموع مبالغها {sar} ريال."),
        ),
        Kind::CheckoutsInDoubt => (
            format!(
                "{count} checkouts are in doubt: nobody knows whether Moyasar made their invoices."
            ),
            format!("طلبات شراء غير محسومة، عددها {count}: لا يُعرف هل أنشأت ميسّر فواتيرها."),
        ),
        Kind::LettersDead => (
            format!("{count} entries of the queue {about} were given up; only a person can help."),
            format!(
                "عناصر في قائمة {about} استُنفدت محاولاتها، عددها {count}، ولا يحلها إلا تدخل مسؤول."
            ),
        ),
        Kind::ReviewsOpen => (
            format!("{count} questions wait for a person ({sar} SAR)."),
            format!("مسائل تنتظر قرار مسؤول، عددها {count} ({sar} ريال)."),
        ),
        Kind::BreakerOpen => (
            format!("{about} keeps failing and is left alone for a while."),
            format!("خدمة {about} تتعطل باستمرار، والاتصال بها متوقف مؤقتًا."),
        ),
        Kind::LettersWaiting => (
            format!("{count} entries of the queue {about} wait for too long, or are too many."),
            format!("عناصر في قائمة {about} طال انتظارها أو كثر عددها: {count}."),
        ),
        Kind::LooksOverdue => (
            format!("{count} checkouts should have been looked up at Moyasar by now."),
            format!("طلبات شراء تأخر التحقق منها لدى ميسّر، عددها {count}."),
        ),
        Kind::OutboxRefused => (
            format!("PostHog refused {count} events; no customer notices."),
            format!("رفضت خدمة PostHog أحداثًا تحليلية عددها {count}، ولا أثر لذلك على العملاء."),
        ),
        Kind::OutboxWaiting => (
            format!("{count} events wait for PostHog; no customer notices."),
            format!(
                "أحداث تحليلية تنتظر الإرسال إلى PostHog، عددها {count}، ولا أثر لذلك على العملاء."
            ),
        ),
        Kind::WebhooksRefused => (
            format!(
                "{count} webhooks in the last hour did not carry our secret: somebody forges them, or Moyasar has another secret."
            ),
            format!(
                "إشعارات دفع مرفوضة خلال الساعة الماضية، عددها {count}: إما محاولات تزوير أو أن السر لدى ميسّر مختلف."
            ),
        ),
    }
}

/// What to type next.
pub(super) fn command(found: &Found) -> String {
    let about = found.about.as_deref().unwrap_or_default();
    match found.kind {
        Kind::ApiDown => "sudo systemctl restart dealix-api".to_owned(),
        Kind::PostgresAway => "sudo systemctl status postgresql".to_owned(),
        Kind::RedisAway => "sudo systemctl status redis-server@dealix".to_owned(),
        Kind::RedisNotDurable => {
            "sudo redis-cli -s /run/redis-dealix/redis.sock config get '*append*'".to_owned()
        }
        Kind::MigrationsMissing => "dealix-api migrate up".to_owned(),
        Kind::PaidNotGranted
        | Kind::EventsWaiting
        | Kind::CheckoutsInDoubt
        | Kind::ReviewsOpen
            if !about.is_empty() =>
        {
            format!("dealix-api explain {about}")
        }
        Kind::PaidNotGranted
        | Kind::EventsWaiting
        | Kind::CheckoutsInDoubt
        | Kind::ReviewsOpen
        | Kind::LooksOverdue => "journalctl -u dealix-api -n 100 -o cat".to_owned(),
        Kind::LettersDead => format!("dealix-api dlq list {about} --state dead"),
        // Whether it is paused, since when the oldest waits, and what failed last.
        Kind::LettersWaiting => "dealix-api dlq stats".to_owned(),
        Kind::BreakerOpen => "dealix-api breaker list".to_owned(),
        Kind::OutboxWaiting => {
            "curl -sS http://127.0.0.1:8001/health/deep | jq .checks".to_owned()
        }
        Kind::OutboxRefused => "dealix-api dlq list analytics".to_owned(),
        Kind::WebhooksRefused => {
            "dealix-api check-config --json | jq '.settings[] | select(.name // \"\" | startswith(\"MOYASAR_WEBHOOK\"))'"
                .to_owned()
        }
    }
}
