//! The documented test cards, each with the outcome that its page promises.

use dealix_sandbox::Card;
use serde_json::{Value, json};

use crate::harness::Asked;

const APPROVED: [(&str, &str); 6] = [
    ("4201320111111010", "mada"),
    ("4111111111111111", "visa"),
    ("4111114005765430", "visa"),
    ("5421080101000000", "master"),
    ("340000000900000", "amex"),
    ("6200000000000005", "unionpay"),
];

const DECLINED: [(&str, &str, [&str; 7]); 5] = [
    (
        "mada",
        "99 51 41 05 54 61 43",
        [
            "4201320000013020",
            "4201320000311101",
            "4201320131000508",
            "4201321234411220",
            "4201322267774310",
            "4201326324640570",
            "4201321144311528",
        ],
    ),
    (
        "visa",
        "99 51 41 05 54 61 43",
        [
            "4123120000000000",
            "4123120001090000",
            "4123450131000508",
            "4123120001090109",
            "4123128518640738",
            "4123123033308648",
            "4123125276780003",
        ],
    ),
    (
        "master",
        "99 51 41 05 54 61 43",
        [
            "5105105105105100",
            "5457210001000092",
            "5204010101000000",
            "5204730000002514",
            "5105107550274126",
            "5105106475101067",
            "5105107304607225",
        ],
    ),
    (
        "amex",
        "99 51 41 05 54 61 43",
        [
            "371111111111114",
            "340033000000000",
            "340012340501000",
            "340033000000133",
            "340000018441278",
            "340000753060788",
            "340000418501838",
        ],
    ),
    (
        "unionpay",
        "99 51 41 05 54 61 43",
        [
            "6200000000000013",
            "6200000000000021",
            "6200000000000039",
            "6200000000000047",
            "6200000000000054",
            "6200000000000062",
            "6200000000000070",
        ],
    ),
];

#[tokio::test]
async fn every_approved_card_pays() {
    let asked = Asked::start().await;
    for (number, company) in APPROVED {
        let id = asked.invoice_id().await;
        let payment = asked.sandbox.pay(&id, Card::new(number)).await.unwrap();
        assert_eq!(payment.status.as_str(), "paid", "{number}");
        assert_eq!(payment.source.company, company, "{number}");
        assert_eq!(payment.source.response_code.as_deref(), Some("00"));
        assert!(payment.source.authorization_code.is_some());
    }
}

#[tokio::test]
async fn every_failing_card_is_declined_with_its_code_and_the_invoice_stays_payable() {
    let asked = Asked::start().await;
    for (company, codes, numbers) in DECLINED {
        for (code, number) in codes.split(' ').zip(numbers) {
            let id = asked.invoice_id().await;
            let payment = asked.sandbox.pay(&id, Card::new(number)).await.unwrap();
            assert_eq!(payment.status.as_str(), "failed", "{number}");
            assert_eq!(payment.source.company, company, "{number}");
            assert_eq!(payment.source.response_code.as_deref(), Some(code), "{number}");
            let message = match code {
                "51" => "INSUFFICIENT FUNDS",
                "41" => "LOST",
                "05" => "DECLINED",
                "54" => "EXPIRED",
                "61" => "EXCEEDS WITHDRAWAL LIMIT",
                "43" => "STOLEN",
                _ => "UNSPECIFIED FAILURE",
            };
            assert_eq!(payment.source.message.as_deref(), Some(message), "{number}");
            let (_, invoice) = asked.get(&format!("v1/invoices/{id}")).await;
            assert_eq!(invoice["status"], "initiated");
            assert_eq!(invoice["payments"][0]["id"], json!(payment.id));
        }
    }
}

#[tokio::test]
async fn a_holder_who_is_not_authenticated_fails_without_a_response_code() {
    let asked = Asked::start().await;
    let mut messages = Vec::new();
    for number in [
        "4111118250252531",
        "4111113343111067",
        "4111116611600661",
        "4111112205628150",
        "4111115784228433",
        "4111115620358287",
    ] {
        let id = asked.invoice_id().await;
        let payment = asked.sandbox.pay(&id, Card::new(number)).await.unwrap();
        assert_eq!(payment.status.as_str(), "failed", "{number}");
        assert_eq!(payment.source.response_code, None, "{number}");
        assert_eq!(payment.source.reference_number, None, "{number}");
        messages.push(payment.source.message.unwrap());
    }
    messages.dedup();
    assert_eq!(messages.len(), 6, "{messages:?}");
}

#[tokio::test]
async fn an_unlisted_card_fails() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let payment = asked.sandbox.pay(&id, Card::new("4242424242424242")).await.unwrap();
    assert_eq!(payment.status.as_str(), "failed");
}

#[tokio::test]
async fn two_attempts_on_one_invoice_are_both_on_it() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, Card::new("4201320000311101")).await.unwrap();
    asked.sandbox.pay(&id, Card::new("4201320111111010")).await.unwrap();
    let (_, invoice) = asked.get(&format!("v1/invoices/{id}")).await;
    let statuses: Vec<&Value> =
        invoice["payments"].as_array().unwrap().iter().map(|payment| &payment["status"]).collect();
    assert_eq!(statuses, ["failed", "paid"]);
    assert_eq!(invoice["status"], "paid");
    let refusal = asked.sandbox.pay(&id, Card::new("4201320111111010")).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the invoice is paid");
}
