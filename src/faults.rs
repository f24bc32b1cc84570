//! Fault hooks: named steps at which a test build of the service dies by its own hand, as if pulled
//! from the wall. The only `cfg(feature)` of the house; without the feature a step is nothing at all.

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!(
    "the feature `faults` is for test builds: no optimised binary may be able to kill itself"
);

/// Marks a point between two effects, at which the process may die and nothing may be lost or
/// doubled. The name stands at one place only; `tests/crash` kills the service at each of them.
#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) const fn step(_name: &'static str) {}

#[cfg(feature = "faults")]
pub(crate) use self::armed::step;

#[cfg(feature = "faults")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// The step to die at, or `step:2` to survive its first passage.
    const VARIABLE: &str = "DEALIX_DIES_AT";

    static HOOK: LazyLock<Option<Hook>> = LazyLock::new(Hook::from_environment);

    struct Hook {
        name: String,
        passages_left: AtomicU32,
    }

    impl Hook {
        #[expect(clippy::disallowed_methods, reason = "no setting of the service: a test's alone")]
        fn from_environment() -> Option<Self> {
            let text = std::env::var(VARIABLE).ok()?;
            let (name, passage) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Self { name: name.to_owned(), passages_left: passage.parse::<u32>().ok()?.into() })
        }
    }

    /// Dies here, if it was told so. SIGKILL of oneself arrives before the call returns: this thread
    /// does nothing more, and no destructor, no flush and no goodbye to a store runs anywhere.
    pub(crate) fn step(name: &'static str) {
        if let Some(hook) = HOOK.as_ref()
            && hook.name == name
            && hook.passages_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let result = kill_process(getpid(), Signal::KILL);
            // Nobody is left to hear of it.
            debug_assert!(result.is_ok(), "a process may signal itself");
        }
    }
}
