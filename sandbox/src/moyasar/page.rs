//! The hosted payment page: a plain form that works without JavaScript, in English and in Arabic.

mod words;

use axum::Router;
use axum::extract::{Form, Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;

use self::words::Words;
use super::books::PayRefusal;
use super::cards::{Card, CardFlow, CardMistake};
use super::invoices::{Invoice, InvoiceStatus};
use super::payments::{Payment, PaymentStatus};
use crate::world::{World, lock};

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/invoices/{id}", get(show_page))
        .route("/invoices/{id}/pay", post(pay_invoice))
}

/// What the payer typed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PayForm {
    name: String,
    number: String,
    expiry: String,
    cvc: String,
}

/// What the page says above the form.
enum Notice<'a> {
    None,
    Mistakes(&'a [CardMistake]),
    Declined(&'a Payment),
}

async fn show_page(
    State(world): State<World>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let words = Words::of(query.as_deref());
    match lock(&world.books).invoice(&id, world.clock.now()) {
        Some(invoice) => Html(render(&invoice, words, &Notice::None, "")).into_response(),
        None => (StatusCode::NOT_FOUND, Html(render_missing(words))).into_response(),
    }
}

async fn pay_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    Form(form): Form<PayForm>,
) -> Response {
    let words = Words::of(query.as_deref());
    let mut mistakes = Vec::new();
    let card = form.card(world.clock.now(), &mut mistakes);
    let paid = if mistakes.is_empty() {
        world.pay(&id, &card)
    } else {
        Err(PayRefusal::BadCard(mistakes))
    };
    let Some(invoice) = lock(&world.books).invoice(&id, world.clock.now()) else {
        return (StatusCode::NOT_FOUND, Html(render_missing(words))).into_response();
    };
    match paid {
        Ok(payment) if payment.status == PaymentStatus::Paid => to_shop(&invoice, words),
        Ok(payment) => {
            let notice = Notice::Declined(&payment);
            Html(render(&invoice, words, &notice, &form.name)).into_response()
        }
        Err(PayRefusal::BadCard(mistakes)) => {
            let notice = Notice::Mistakes(&mistakes);
            let page = render(&invoice, words, &notice, &form.name);
            (StatusCode::UNPROCESSABLE_ENTITY, Html(page)).into_response()
        }
        Err(PayRefusal::NotPayable(_) | PayRefusal::NoSuchInvoice) => {
            let page = render(&invoice, words, &Notice::None, "");
            (StatusCode::CONFLICT, Html(page)).into_response()
        }
    }
}

fn to_shop(invoice: &Invoice, words: &Words) -> Response {
    match invoice.success_url.as_deref().map(HeaderValue::from_str) {
        Some(Ok(url)) => (StatusCode::SEE_OTHER, [(header::LOCATION, url)]).into_response(),
        Some(Err(_)) | None => Html(render(invoice, words, &Notice::None, "")).into_response(),
    }
}

impl PayForm {
    fn card(&self, now: DateTime<Utc>, mistakes: &mut Vec<CardMistake>) -> Card {
        let number: String =
            latin_digits(&self.number).chars().filter(|c| !" -".contains(*c)).collect();
        let card = Card {
            number: number.into(),
            name: self.name.trim().to_owned().into(),
            flow: CardFlow::Charge,
        };
        mistakes.extend(card.mistakes());
        if !is_future(&latin_digits(&self.expiry), now) {
            mistakes.push(CardMistake::Expiry);
        }
        let cvc = latin_digits(self.cvc.trim());
        let length = if card.company() == "amex" { 4 } else { 3 };
        if cvc.len() != length || !cvc.bytes().all(|byte| byte.is_ascii_digit()) {
            mistakes.push(CardMistake::Cvc);
        }
        card
    }
}

/// Keyboards in Arabic type their own digits.
fn latin_digits(text: &str) -> String {
    text.chars()
        .map(|c| {
            let value = match c {
                '٠'..='٩' => u32::from(c) - u32::from('٠'),
                '۰'..='۹' => u32::from(c) - u32::from('۰'),
                _ => return c,
            };
            char::from_digit(value, 10).unwrap_or(c)
        })
        .collect()
}

/// `MM/YY` or `MM/YYYY`, this month included.
fn is_future(expiry: &str, now: DateTime<Utc>) -> bool {
    let Some((month, year)) = expiry.split_once('/') else { return false };
    let (Ok(month), Ok(year)) = (month.trim().parse::<u32>(), year.trim().parse::<i32>()) else {
        return false;
    };
    let year = if year < 100 { year + 2000 } else { year };
    (1..=12).contains(&month) && (year, month) >= (now.year(), now.month())
}

const STYLE: &str = "body{font:1.05rem/1.5 system-ui,sans-serif;max-width:26rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.4rem}label{display:block;margin-top:1rem}input{font:inherit;width:100%;padding:.5rem;border:1px solid #666;\
border-radius:.3rem;box-sizing:border-box}input[aria-invalid]{border-color:#b00020;border-width:2px}button{font:inherit;width:100%;\
margin:1.5rem 0 1rem;padding:.7rem;border:0;border-radius:.3rem;background:#0b5d3b;color:#fff}.alert{padding:.7rem 1rem;\
border-inline-start:.3rem solid #b00020;background:#fdecee}.state{padding:.7rem 1rem;background:#eef3f0}\
.sandbox{color:#555;font-size:.9rem}nav{display:flex;justify-content:space-between}.total{font-size:1.2rem;font-weight:600}";

fn render(invoice: &Invoice, words: &Words, notice: &Notice<'_>, name: &str) -> String {
    let state = match invoice.status {
        InvoiceStatus::Initiated => None,
        InvoiceStatus::Paid => Some(words.paid),
        InvoiceStatus::Expired => Some(words.expired),
        InvoiceStatus::Canceled => Some(words.canceled),
        InvoiceStatus::Refunded | InvoiceStatus::OnHold | InvoiceStatus::Voided => {
            Some(words.closed)
        }
    };
    let body = match state {
        Some(state) => format!("<p class=\"state\" role=\"status\">{state}</p>"),
        None => render_form(invoice, words, notice, name),
    };
    let back = invoice.back_url.as_deref().map_or_else(String::new, |url| {
        format!("<a href=\"{}\" rel=\"noreferrer\">{}</a>", escape(url), words.back)
    });
    let (other, other_name) = words.other;
    let content = format!(
        "<p>{description}</p>\
         <p>{amount_word}: <span class=\"total\" dir=\"ltr\">{amount}</span></p>\
         {body}\
         <nav>{back}<a href=\"/invoices/{id}?lang={other}\" lang=\"{other}\" hreflang=\"{other}\">{other_name}</a></nav>",
        description = escape(&invoice.description),
        amount_word = words.amount,
        amount = escape(&invoice.amount_format),
        id = invoice.id,
    );
    frame(words, &content)
}

fn render_form(invoice: &Invoice, words: &Words, notice: &Notice<'_>, name: &str) -> String {
    let (alert, mistakes): (String, &[CardMistake]) = match notice {
        Notice::None => (String::new(), &[]),
        Notice::Mistakes(mistakes) => (words.mistakes.to_owned(), mistakes),
        Notice::Declined(payment) => {
            let message = payment.source.message.as_deref().unwrap_or_default();
            let message = format!("<bdi dir=\"ltr\">{}</bdi>", escape(message));
            (format!("{} {message}<br>{}", words.declined, words.try_again), &[])
        }
    };
    let alert = match alert.as_str() {
        "" => String::new(),
        text => format!("<p class=\"alert\" role=\"alert\">{text}</p>"),
    };
    let field = |mistake: CardMistake, label: &str, rest: &str| {
        let id = mistake.field();
        let invalid = if mistakes.contains(&mistake) { " aria-invalid=\"true\"" } else { "" };
        format!(
            "<label for=\"{id}\">{label}</label><input id=\"{id}\" name=\"{id}\" required{invalid} {rest}>"
        )
    };
    let numeric = |autocomplete: &str, most: usize| {
        format!(
            "inputmode=\"numeric\" dir=\"ltr\" maxlength=\"{most}\" autocomplete=\"{autocomplete}\""
        )
    };
    let name_attributes = format!("autocomplete=\"cc-name\" value=\"{}\"", escape(name));
    format!(
        "{alert}<form method=\"post\" action=\"/invoices/{id}/pay?lang={lang}\">{}{}{}{}\
         <button type=\"submit\">{pay} <bdi dir=\"ltr\">{amount}</bdi></button></form>",
        field(CardMistake::Name, words.name, &name_attributes),
        field(CardMistake::Number, words.number, &numeric("cc-number", 23)),
        field(CardMistake::Expiry, words.expiry, &numeric("cc-exp", 7)),
        field(CardMistake::Cvc, words.cvc, &numeric("cc-csc", 4)),
        id = invoice.id,
        lang = words.lang,
        pay = words.pay,
        amount = escape(&invoice.amount_format),
    )
}

fn render_missing(words: &Words) -> String {
    frame(words, &format!("<p class=\"state\" role=\"status\">{}</p>", words.missing))
}

fn frame(words: &Words, content: &str) -> String {
    let Words { lang, dir, title, sandbox, .. } = words;
    format!(
        "<!DOCTYPE html><html lang=\"{lang}\" dir=\"{dir}\"><head><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1><p class=\"sandbox\">{sandbox}</p>{content}</main></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}
