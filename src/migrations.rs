//! The migrations of this binary against the state of a database: applied, pending, unknown.
//!
//! `serve` only looks; `migrate up` and `migrate down` change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, PgPool};

/// The migrations that are compiled in.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

const TABLE: &str = "_sqlx_migrations";

/// A statement that cannot get its lock within this gives up, and with it everyone queued behind.
const LOCK_TIMEOUT: &str = "5s";

/// A migration that takes longer does not belong into a deploy.
const STATEMENT_TIMEOUT: &str = "10min";

/// Attempts at the lock that keeps two migrators apart, each as long as [`LOCK_TIMEOUT`].
const LOCK_ATTEMPTS: u32 = 6;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A migration as people speak of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The number that orders it.
    pub version: i64,
    /// What it does; empty if this binary does not know it.
    pub description: Cow<'static, str>,
}

impl Name {
    fn of(migration: &Migration) -> Self {
        Self { version: migration.version, description: migration.description.clone() }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.description.is_empty() { "" } else { " " };
        write!(formatter, "{}{separator}{}", self.version, self.description)
    }
}

/// What a database has and lacks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Applied, oldest first.
    pub applied: Vec<Name>,
    /// Of this binary and not applied, oldest first.
    pub pending: Vec<Name>,
    /// Applied by a newer binary: fine, as long as nobody wants to go back beyond them.
    pub unknown: Vec<Name>,
    /// Applied, but with another text than this binary has.
    pub changed: Vec<Name>,
}

/// Why nothing, or not everything, was migrated.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Postgres did not take the connection.
    #[error("Postgres cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// Postgres did not answer.
    #[error("Postgres did not answer within {}s", CONNECT_TIMEOUT.as_secs())]
    Silent,
    /// Somebody else is migrating.
    #[error("another process is migrating this database")]
    Locked,
    /// The file was edited after it had been applied.
    #[error("migration {0} was changed after it had been applied")]
    Changed(Name),
    /// The newest migration was applied by a newer binary, and only that one can take it back.
    #[error("migration {0} is unknown to this binary; take it back with the one that applied it")]
    Unknown(Name),
    /// There is no way back.
    #[error("migration {0} has no down script")]
    OneWay(Name),
    /// A migration failed; it left no trace.
    #[error("migration {0} failed and was rolled back")]
    Failed(Name, #[source] MigrateError),
    /// The table of migrations cannot be read or written.
    #[error("the table of migrations cannot be used")]
    Bookkeeping(#[source] MigrateError),
}

/// The migrations of this binary that the database lacks. Writes nothing.
pub async fn missing(db: &PgPool) -> sqlx::Result<Vec<i64>> {
    let mut connection = db.acquire().await?;
    let applied = applied(&mut connection).await?;
    let lacks = |migration: &&Migration| !applied.contains_key(&migration.version);
    Ok(ups(&MIGRATIONS).filter(lacks).map(|migration| migration.version).collect())
}

/// A connection to a database, with the migrations that it should have.
pub struct Runner<'a> {
    migrator: &'a Migrator,
    connection: PgConnection,
}

impl<'a> Runner<'a> {
    /// Connects; the session gives up on locks and statements that take too long.
    pub async fn connect(
        options: PgConnectOptions,
        migrator: &'a Migrator,
    ) -> Result<Self, Failure> {
        let session = options
            .options([("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", STATEMENT_TIMEOUT)]);
        match tokio::time::timeout(CONNECT_TIMEOUT, session.connect()).await {
            Ok(Ok(connection)) => Ok(Self { migrator, connection }),
            Ok(Err(error)) => Err(Failure::Unreachable(error)),
            Err(_) => Err(Failure::Silent),
        }
    }

    /// What the database has and lacks. Writes nothing.
    pub async fn status(&mut self) -> Result<Status, Failure> {
        let mut applied = applied(&mut self.connection).await.map_err(Failure::Bookkeeping)?;
        let mut status = Status::default();
        for migration in ups(self.migrator) {
            let name = Name::of(migration);
            match applied.remove(&migration.version) {
                Some(checksum) if *checksum == *migration.checksum => status.applied.push(name),
                Some(_) => status.changed.push(name),
                None => status.pending.push(name),
            }
        }
        let unknown = |version| Name { version, description: Cow::Borrowed("") };
        status.unknown = applied.into_keys().map(unknown).collect();
        Ok(status)
    }

    /// Applies what is pending, oldest first; each is reported when it is done.
    pub async fn up(&mut self, mut report: impl FnMut(&Name)) -> Result<(), Failure> {
        self.lock().await?;
        let table = self.connection.ensure_migrations_table(TABLE).await;
        table.map_err(Failure::Bookkeeping)?;
        let pending = self.unchanged().await?.pending;
        for migration in ups(self.migrator) {
            let name = Name::of(migration);
            if pending.contains(&name) {
                let done = self.connection.apply(TABLE, migration).await;
                done.map_err(|error| Failure::Failed(name.clone(), error))?;
                report(&name);
            }
        }
        self.unlock().await
    }

    /// Takes back the newest `steps` migrations, newest first; each is reported when it is done.
    pub async fn down(
        &mut self,
        steps: usize,
        mut report: impl FnMut(&Name),
    ) -> Result<(), Failure> {
        self.lock().await?;
        let Status { applied, unknown, .. } = self.unchanged().await?;
        for name in applied.into_iter().rev().take(steps) {
            if let Some(newer) = unknown.iter().find(|unknown| unknown.version > name.version) {
                return Err(Failure::Unknown(newer.clone()));
            }
            let down = self.migrator.iter().find(|migration| {
                migration.version == name.version && migration.migration_type.is_down_migration()
            });
            let Some(down) = down else { return Err(Failure::OneWay(name)) };
            let done = self.connection.revert(TABLE, down).await;
            done.map_err(|error| Failure::Failed(name.clone(), error))?;
            report(&name);
        }
        self.unlock().await
    }

    /// Says goodbye to Postgres.
    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }

    /// The status, unless an applied migration was edited.
    async fn unchanged(&mut self) -> Result<Status, Failure> {
        let mut status = self.status().await?;
        match status.changed.pop() {
            Some(name) => Err(Failure::Changed(name)),
            None => Ok(status),
        }
    }

    /// Keeps other migrators out until [`Self::unlock`], or until the connection is gone.
    async fn lock(&mut self) -> Result<(), Failure> {
        for _ in 0..LOCK_ATTEMPTS {
            match self.connection.lock().await {
                Ok(()) => return Ok(()),
                Err(MigrateError::Execute(error)) if is_lock_timeout(&error) => (),
                Err(error) => return Err(Failure::Bookkeeping(error)),
            }
        }
        Err(Failure::Locked)
    }

    async fn unlock(&mut self) -> Result<(), Failure> {
        self.connection.unlock().await.map_err(Failure::Bookkeeping)
    }
}

fn ups(migrator: &Migrator) -> impl Iterator<Item = &Migration> {
    migrator.iter().filter(|migration| migration.migration_type.is_up_migration())
}

/// Versions and checksums of what was applied; none where nobody ever migrated.
async fn applied(
    connection: &mut PgConnection,
) -> Result<BTreeMap<i64, Cow<'static, [u8]>>, MigrateError> {
    match connection.list_applied_migrations(TABLE).await {
        Ok(applied) => Ok(applied.into_iter().map(|row| (row.version, row.checksum)).collect()),
        Err(MigrateError::Execute(error)) if has_code(&error, "42P01") => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, "55P03")
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|found| found == code)
}

#[cfg(test)]
mod tests {
    use sqlx::SqlSafeStr;
    use sqlx::migrate::MigrationType::{ReversibleDown, ReversibleUp};

    use super::*;

    /// Reversible migrations that create one table each, some of them with a change of text.
    fn migrator(tables: &[&'static str], note: &'static str) -> Migrator {
        let pair = |(at, table): (usize, &&'static str)| {
            let version = i64::try_from(at).unwrap() + 1;
            let migration = |kind, sql: String| {
                let sql = sqlx::AssertSqlSafe(sql).into_sql_str();
                Migration::new(version, Cow::Borrowed(*table), kind, sql, false)
            };
            [
                migration(ReversibleUp, format!("create table {table} (id int){note}")),
                migration(ReversibleDown, format!("drop table {table}")),
            ]
        };
        Migrator::with_migrations(tables.iter().enumerate().flat_map(pair).collect())
    }

    async fn runner<'a>(db: &PgPool, migrator: &'a Migrator) -> Runner<'a> {
        Runner::connect((*db.connect_options()).clone(), migrator).await.unwrap()
    }

    async fn up(db: &PgPool, migrator: &Migrator) -> Result<Vec<i64>, Failure> {
        let mut done = Vec::new();
        runner(db, migrator).await.up(|name| done.push(name.version)).await.map(|()| done)
    }

    async fn down(db: &PgPool, migrator: &Migrator, steps: usize) -> Result<Vec<i64>, Failure> {
        let mut done = Vec::new();
        runner(db, migrator).await.down(steps, |name| done.push(name.version)).await.map(|()| done)
    }

    /// Versions applied, pending and unknown.
    async fn status(db: &PgPool, migrator: &Migrator) -> [Vec<i64>; 3] {
        let status = runner(db, migrator).await.status().await.unwrap();
        [status.applied, status.pending, status.unknown]
            .map(|names| names.iter().map(|name| name.version).collect())
    }

    #[sqlx::test(migrations = false)]
    async fn up_applies_what_is_pending_and_down_takes_back_the_newest(db: PgPool) {
        let migrator = migrator(&["a", "b", "c"], "");
        assert_eq!(status(&db, &migrator).await, [vec![], vec![1, 2, 3], vec![]]);
        assert_eq!(up(&db, &migrator).await.unwrap(), [1, 2, 3]);
        assert_eq!(up(&db, &migrator).await.unwrap(), [0; 0]);
        assert_eq!(down(&db, &migrator, 1).await.unwrap(), [3]);
        assert_eq!(status(&db, &migrator).await, [vec![1, 2], vec![3], vec![]]);
        assert_eq!(up(&db, &migrator).await.unwrap(), [3]);
        assert_eq!(down(&db, &migrator, 9).await.unwrap(), [3, 2, 1]);
        assert_eq!(status(&db, &migrator).await, [vec![], vec![1, 2, 3], vec![]]);
    }

    #[sqlx::test(migrations = false)]
    async fn looking_at_an_empty_database_writes_nothing(db: PgPool) {
        let nothing = migrator(&["a"], "");
        status(&db, &nothing).await;
        assert!(!missing(&db).await.unwrap().is_empty());
        assert_eq!(down(&db, &nothing, 1).await.unwrap(), [0; 0]);
        // Had one of them created the table of migrations, this would find it there.
        let mut connection = db.acquire().await.unwrap();
        let table = connection.list_applied_migrations(TABLE).await;
        assert!(table.unwrap_err().to_string().contains("does not exist"));
    }

    #[sqlx::test]
    async fn nothing_of_this_binary_is_missing_once_all_is_applied(db: PgPool) {
        assert_eq!(missing(&db).await.unwrap(), [0; 0]);
        let newest = down(&db, &MIGRATIONS, 1).await.unwrap();
        assert_eq!(missing(&db).await.unwrap(), newest);
    }

    #[sqlx::test(migrations = false)]
    async fn a_rolled_back_binary_accepts_newer_migrations_but_does_not_dig_below_them(db: PgPool) {
        let (newer, older) = (migrator(&["a", "b"], ""), migrator(&["a"], ""));
        up(&db, &newer).await.unwrap();
        assert_eq!(status(&db, &older).await, [vec![1], vec![], vec![2]]);
        assert_eq!(up(&db, &older).await.unwrap(), [0; 0]);
        let refused = down(&db, &older, 1).await.unwrap_err();
        assert!(matches!(refused, Failure::Unknown(name) if name.version == 2));
    }

    #[sqlx::test(migrations = false)]
    async fn an_edited_migration_is_named_and_nothing_is_done(db: PgPool) {
        up(&db, &migrator(&["a"], "")).await.unwrap();
        let edited = migrator(&["a", "b"], " -- edited");
        for failure in [up(&db, &edited).await, down(&db, &edited, 1).await] {
            let failure = failure.unwrap_err().to_string();
            assert_eq!(failure, "migration 1 a was changed after it had been applied");
        }
        assert_eq!(status(&db, &migrator(&["a"], "")).await, [vec![1], vec![], vec![]]);
    }

    #[sqlx::test(migrations = false)]
    async fn a_migration_that_fails_leaves_no_trace_and_keeps_the_ones_before_it(db: PgPool) {
        let broken = migrator(&["a", "a"], "");
        let failure = up(&db, &broken).await.unwrap_err();
        assert!(matches!(&failure, Failure::Failed(name, _) if name.version == 2), "{failure}");
        assert_eq!(status(&db, &broken).await, [vec![1], vec![2], vec![]]);
    }

    #[sqlx::test(migrations = false)]
    async fn two_migrators_at_once_apply_each_migration_once(db: PgPool) {
        let migrator = migrator(&["a", "b", "c"], "");
        let (one, other) = tokio::join!(up(&db, &migrator), up(&db, &migrator));
        let done = [one.unwrap(), other.unwrap()].concat();
        assert_eq!(done, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_postgres_that_is_not_there_is_told_as_such() {
        let nowhere = "postgres://dealix@127.0.0.1:1/dealix".parse().unwrap();
        let failure = Runner::connect(nowhere, &MIGRATIONS).await.err().unwrap();
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure}");
    }
}
