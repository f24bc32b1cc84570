//! The hosted payment page, used as a browser without JavaScript uses it.

use dealix_sandbox::cards;
use reqwest::{Method, Response};
use serde_json::json;
use url::form_urlencoded;

use crate::harness::{Asked, text};

const GOOD: [(&str, &str); 4] = [
    ("name", "Sara Alharbi"),
    ("number", "4201 3201 1111 1010"),
    ("expiry", "12/99"),
    ("cvc", "123"),
];

async fn submit(asked: &Asked, id: &str, lang: &str, changes: &[(&str, &str)]) -> Response {
    let fields = GOOD.map(|(name, value)| {
        let change = changes.iter().find(|(changed, _)| *changed == name);
        (name, change.map_or(value, |(_, value)| value))
    });
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let path = format!("invoices/{id}/pay?lang={lang}");
    let request = asked.request(Method::POST, &path);
    let media_type = "application/x-www-form-urlencoded";
    request.header("content-type", media_type).body(body).send().await.unwrap()
}

#[tokio::test]
async fn the_page_is_a_labelled_form_in_the_language_of_its_url() {
    let asked = Asked::start().await;
    let invoice = asked
        .invoice(json!({"description": "<b>Growth & more</b>", "back_url": "https://shop.example.com/cart"}))
        .await;
    let id = text(&invoice["id"]);
    let (status, english) = asked.page(&format!("invoices/{id}?lang=en")).await;
    assert_eq!(status, 200);
    for part in [
        "<html lang=\"en\" dir=\"ltr\">",
        "&lt;b&gt;Growth &amp; more&lt;/b&gt;",
        "115.00 SAR",
        "href=\"https://shop.example.com/cart\"",
        "<label for=\"number\">Card number</label>",
        &format!("action=\"/invoices/{id}/pay?lang=en\""),
    ] {
        assert!(english.contains(part), "{part} is missing in {english}");
    }
    assert!(!english.contains("<script"));
    let (_, arabic) = asked.page(&format!("invoices/{id}?lang=ar")).await;
    assert!(arabic.contains("<html lang=\"ar\" dir=\"rtl\">"));
    assert!(arabic.contains("رقم البطاقة"));
    assert_eq!(asked.page("invoices/none").await.0, 404);
}

#[tokio::test]
async fn a_good_card_pays_and_goes_to_the_shop() {
    let asked = Asked::start().await;
    let success_url = "https://shop.example.com/return?order=1";
    let id = text(&asked.invoice(json!({"success_url": success_url})).await["id"]);
    let response = submit(&asked, &id, "en", &[]).await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], success_url);
    assert_eq!(asked.get(&format!("v1/invoices/{id}")).await.1["status"], "paid");
    let again = submit(&asked, &id, "en", &[]).await;
    assert_eq!(again.status(), 409);
    assert!(again.text().await.unwrap().contains("This invoice is paid."));
    assert_eq!(asked.sandbox.counts().payments, 1);
}

#[tokio::test]
async fn without_a_success_url_the_page_itself_says_paid() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let response = submit(&asked, &id, "ar", &[]).await;
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("هذه الفاتورة مدفوعة"));
}

#[tokio::test]
async fn a_declined_card_is_told_and_a_second_one_pays() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let response = submit(&asked, &id, "en", &[("number", "4201320000311101")]).await;
    assert_eq!(response.status(), 200);
    let page = response.text().await.unwrap();
    assert!(page.contains("role=\"alert\""));
    assert!(page.contains("INSUFFICIENT FUNDS"));
    assert!(page.contains("value=\"Sara Alharbi\""));
    assert!(!page.contains("4201320000311101"));
    let arabic = submit(&asked, &id, "ar", &[("number", "4201320131000508")]).await;
    assert!(arabic.text().await.unwrap().contains("رُفضت عملية الدفع"));
    assert_eq!(asked.get(&format!("v1/invoices/{id}")).await.1["status"], "initiated");
    submit(&asked, &id, "en", &[("number", "٤٢٠١٣٢٠١١١١١١٠١٠")]).await;
    assert_eq!(asked.get(&format!("v1/invoices/{id}")).await.1["status"], "paid");
}

#[tokio::test]
async fn a_mistyped_field_is_marked_and_no_bank_is_asked() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    for (field, value) in [
        ("name", "Sara"),
        ("number", "4201"),
        ("number", "4201 32O1 1111 1010"),
        ("expiry", "01/20"),
        ("expiry", "13/99"),
        ("expiry", "soon"),
        ("cvc", "12"),
        ("cvc", "1234"),
    ] {
        let response = submit(&asked, &id, "en", &[(field, value)]).await;
        assert_eq!(response.status(), 422, "{field} {value}");
        let page = response.text().await.unwrap();
        let marked = format!("id=\"{field}\" name=\"{field}\" required aria-invalid=\"true\"");
        assert!(page.contains(&marked), "{field} {value}");
        assert_eq!(page.matches("aria-invalid=\"true\"").count(), 1, "{field} {value}");
    }
    assert_eq!(asked.sandbox.counts().payments, 0);
    let amex = [("number", "340000000900000"), ("cvc", "1234")];
    submit(&asked, &id, "en", &amex).await;
    assert_eq!(asked.get(&format!("v1/invoices/{id}")).await.1["status"], "paid");
}

#[tokio::test]
async fn a_closed_invoice_says_why_and_shows_no_form() {
    let asked = Asked::start().await;
    let (expired, canceled, paid) =
        (asked.invoice_id().await, asked.invoice_id().await, asked.invoice_id().await);
    asked.sandbox.expire(&expired).unwrap();
    asked.put(&format!("v1/invoices/{canceled}/cancel"), json!({})).await;
    asked.sandbox.pay(&paid, cards::MADA_APPROVED).await.unwrap();
    for (id, words) in [(&expired, "expired"), (&canceled, "canceled"), (&paid, "is paid")] {
        let (_, page) = asked.page(&format!("invoices/{id}")).await;
        assert!(page.contains(words), "{page}");
        assert!(!page.contains("<form"));
        assert_eq!(submit(&asked, id, "en", &[]).await.status(), 409);
    }
    assert_eq!(asked.sandbox.counts().payments, 1);
}
