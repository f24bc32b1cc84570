//! Carry out an order once, however often it is given with the same key. Its key is claimed with its
//! audit row; the answer is kept when all is done. Every letter is settled once in any case, so the
//! order of a process that died may be given again as soon as nobody can be at it any more.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::db;
use crate::faults;
use crate::flows::idempotency::{self, Answered, Claim, IdempotencyKey};
use crate::flows::letters::operate::{Noted, Operate, OperateError, Order};

/// An order that is written down.
pub(super) enum Written<T> {
    /// It is to be carried out; what it is about, if it has a key.
    New(Option<Uuid>),
    /// It was carried out: this came of it.
    Before(T),
}

impl Operate {
    /// Writes an order down, and claims its key with it. One that was carried out before is not judged
    /// again; one that is refused leaves no trace, and its key free.
    pub(super) async fn note_once<T: DeserializeOwned>(
        &self,
        order: &Order,
        key: Option<&IdempotencyKey>,
        noted: Noted<'_>,
        judged: Result<(), OperateError>,
    ) -> Result<Written<T>, OperateError> {
        let (subject, audit) = (Uuid::now_v7(), self.audit(order, noted));
        let write = async {
            let mut tx = self.db.begin().await?;
            if let Some(key) = key {
                let now = audit.happened_at;
                let claim = idempotency::claim_while_running(&mut tx, key, subject, now).await?;
                match given(claim) {
                    Ok(None) => (),
                    Ok(Some(answer)) => return Ok(Ok(Written::Before(answer))),
                    Err(error) => return Ok(Err(error)),
                }
            }
            if let Err(refused) = judged {
                return Ok(Err(refused));
            }
            db::audit_log::insert(&mut *tx, &audit).await?;
            faults::step("order_unnoted");
            tx.commit().await?;
            Ok(Ok(Written::New(key.map(|_| subject))))
        };
        db::in_time(write).await?
    }

    /// Says what came of an order, and keeps it for whoever gives the same order again. One that failed
    /// gives its key back.
    pub(super) async fn conclude<T: Serialize + Sync>(
        &self,
        subject: Option<Uuid>,
        outcome: Result<T, OperateError>,
    ) -> Result<Answered<T>, OperateError> {
        if let Some(subject) = subject {
            let write = async {
                let mut tx = self.db.begin().await?;
                match &outcome {
                    Ok(answer) => {
                        idempotency::keep(&mut tx, subject, answer, self.clock.now()).await?;
                    }
                    Err(_) => db::idempotency_keys::release(&mut tx, subject).await?,
                }
                faults::step("outcome_unkept");
                tx.commit().await?;
                faults::step("outcome_kept");
                Ok(())
            };
            // Then the key is free again by itself when nobody can be at it any more.
            if let Err(error) = db::in_time(write).await {
                tracing::warn!(%error, "What came of an order is not kept with its key: {error}");
            }
        }
        outcome.map(Answered::new)
    }
}

/// What an order with a key was answered before; none if it is new.
pub(crate) fn given<T>(claim: Claim<T>) -> Result<Option<T>, OperateError> {
    match claim {
        Claim::Won => Ok(None),
        Claim::Done(answer) => Ok(Some(answer)),
        Claim::Reused => Err(OperateError::KeyReused),
        Claim::InProgress { retry_after } => Err(OperateError::InProgress { retry_after }),
    }
}
