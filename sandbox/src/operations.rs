//! The one table of what can be asked of the sandbox: name, service, method and path of every counted operation.

use serde::Serialize;

/// A service that the sandbox plays over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// The payment provider.
    Moyasar,
    /// Product analytics.
    Posthog,
    /// Error reports.
    Sentry,
    /// Whoever is on call.
    Pager,
}

macro_rules! operations {
    ($($variant:ident $service:ident $name:literal $method:literal $path:literal;)+) => {
        /// A request that the sandbox counts and that a fault can aim at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", $method, " ", $path, "`")] $variant,)+
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name on the wire, in faults and in the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whose operation it is.
            pub const fn service(self) -> Service {
                match self { $(Self::$variant => Service::$service,)+ }
            }

            /// The operation behind a matched route.
            pub(crate) fn of(method: &str, path: &str) -> Option<Self> {
                match (method, path.trim_end_matches('/')) {
                    $(($method, $path) => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

operations! {
    CreateInvoice Moyasar "create_invoice" "POST" "/v1/invoices";
    ListInvoices Moyasar "list_invoices" "GET" "/v1/invoices";
    FetchInvoice Moyasar "fetch_invoice" "GET" "/v1/invoices/{id}";
    UpdateInvoice Moyasar "update_invoice" "PUT" "/v1/invoices/{id}";
    CancelInvoice Moyasar "cancel_invoice" "PUT" "/v1/invoices/{id}/cancel";
    ListPayments Moyasar "list_payments" "GET" "/v1/payments";
    FetchPayment Moyasar "fetch_payment" "GET" "/v1/payments/{id}";
    UpdatePayment Moyasar "update_payment" "PUT" "/v1/payments/{id}";
    RefundPayment Moyasar "refund_payment" "POST" "/v1/payments/{id}/refund";
    CapturePayment Moyasar "capture_payment" "POST" "/v1/payments/{id}/capture";
    VoidPayment Moyasar "void_payment" "POST" "/v1/payments/{id}/void";
    CreateWebhook Moyasar "create_webhook" "POST" "/v1/webhooks";
    ListWebhooks Moyasar "list_webhooks" "GET" "/v1/webhooks";
    FetchWebhook Moyasar "fetch_webhook" "GET" "/v1/webhooks/{id}";
    DeleteWebhook Moyasar "delete_webhook" "DELETE" "/v1/webhooks/{id}";
    VerifyWebhook Moyasar "verify_webhook" "POST" "/v1/webhooks/{id}/verify";
    ListAvailableEvents Moyasar "list_available_events" "GET" "/v1/webhooks/available_events";
    ListWebhookAttempts Moyasar "list_webhook_attempts" "GET" "/v1/webhooks/attempts";
    FetchWebhookAttempt Moyasar "fetch_webhook_attempt" "GET" "/v1/webhooks/attempts/{id}";
    ShowPage Moyasar "show_page" "GET" "/invoices/{id}";
    PayInvoice Moyasar "pay_invoice" "POST" "/invoices/{id}/pay";
    CaptureBatch Posthog "capture_batch" "POST" "/batch";
    PosthogHealth Posthog "posthog_health" "GET" "/_health";
    StoreEnvelope Sentry "store_envelope" "POST" "/api/{project}/envelope";
    ReceiveAlert Pager "receive_alert" "POST" "/alerts";
}

impl AsRef<str> for Operation {
    fn as_ref(&self) -> &str {
        self.name()
    }
}
