//! Who works beside whom in this process: everybody, until something must be done alone.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Lets work that a process may die of have the process to itself, so that it takes nobody else's
/// along and its guilt is beyond doubt.
#[derive(Clone, Debug, Default)]
pub struct Company(Arc<RwLock<()>>);

/// The right to work beside others.
#[must_use]
#[derive(Debug)]
pub struct Beside(
    #[expect(dead_code, reason = "what counts is how long it lives")] OwnedRwLockReadGuard<()>,
);

/// The right to work while nobody else does.
#[must_use]
#[derive(Debug)]
pub struct Alone(
    #[expect(dead_code, reason = "what counts is how long it lives")] OwnedRwLockWriteGuard<()>,
);

impl Company {
    /// Works beside others, as soon as nobody needs to be alone.
    pub async fn join(&self) -> Beside {
        Beside(Arc::clone(&self.0).read_owned().await)
    }

    /// Works alone, as soon as those at work have finished; whoever comes later waits.
    pub async fn clear(&self) -> Alone {
        Alone(Arc::clone(&self.0).write_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn many_work_beside_each_other_and_one_works_alone() {
        let company = Company::default();
        let (one, other) = (company.join().now_or_never(), company.join().now_or_never());
        assert!(one.is_some() && other.is_some());
        assert!(company.clear().now_or_never().is_none());
        drop((one, other));
        let alone = company.clear().now_or_never();
        assert!(alone.is_some());
        assert!(company.join().now_or_never().is_none());
        assert!(company.clear().now_or_never().is_none());
        drop(alone);
        assert!(company.join().now_or_never().is_some());
    }
}
