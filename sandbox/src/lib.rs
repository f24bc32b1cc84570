//! Plays the outside world on the wire: Moyasar (API, hosted payment page, webhooks), PostHog and Sentry.
//!
//! Development, tests, proofs and benchmarks talk to this one. It is never part of the production binary and shares
//! no type with it on purpose: a shared type would hide a mistake on the wire.
//!
//! A test starts one on a free port, points the service at its URLs, and reads the [`Ledger`] afterwards:
//!
//! ```
//! # async fn example() -> anyhow::Result<()> {
//! use dealix_sandbox::{Fault, Operation, Options, Sandbox, Trouble};
//!
//! let sandbox = Sandbox::start(Options::default()).await?;
//! // The next invoice is created, and its answer is lost.
//! sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Hang).once());
//! assert_eq!(sandbox.ledger().requests("create_invoice"), 0);
//! # Ok(())
//! # }
//! ```
//!
//! Every handle is a clone of the same world; dropping the last one stops the listener and all deliveries.

mod clock;
mod control;
mod courier;
mod faults;
mod ledger;
mod moyasar;
mod operations;
mod options;
mod pager;
mod posthog;
mod sandbox;
mod sentry;
mod server;
mod shelf;
mod world;

pub use courier::{Answer, Attempt, Delivery, DeliveryKind, DeliveryStatus, HeldCallback};
pub use faults::{Fault, FaultId, FaultScope, Mischief, Trouble, Twist};
pub use ledger::{Counts, Ledger};
pub use moyasar::cards::{self, Card, CardFlow};
pub use moyasar::invoices::{Invoice, InvoiceStatus};
pub use moyasar::payments::{Payment, PaymentStatus, Source};
pub use operations::{Operation, Service};
pub use options::{Options, WebhookTarget};
pub use posthog::PosthogEvent;
pub use sandbox::Sandbox;
pub use sentry::SentryItem;
