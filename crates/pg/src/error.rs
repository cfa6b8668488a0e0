//! What can go wrong with a database, told apart by what the caller can do about it.

use sqlx::postgres::PgQueryResult;

/// A failed database call.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database cannot be reached or is shutting down; the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A unique or exclusion constraint refused the row.
    #[error("the row conflicts with constraint {constraint}")]
    Conflict {
        /// Name of the constraint.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Another transaction won (40001 or 40P01); the whole transaction may be tried again.
    #[error("the transaction lost against another one")]
    Serialization(#[source] sqlx::Error),
    /// A statement touched another number of rows than it must.
    #[error("{expected} row(s) expected, {got} found")]
    RowCount {
        /// Rows the caller relied on.
        expected: u64,
        /// Rows there were.
        got: u64,
    },
    /// A value that the database cannot hold: a text with NUL, a date beyond its calendar.
    #[error("the database cannot hold a value")]
    Data(#[source] sqlx::Error),
    /// The schema is not the one this program was built for.
    #[error("the database schema does not fit this program: {0}")]
    Schema(String),
    /// Anything else: a defect, not a condition.
    #[error("the database refused the statement")]
    Other(#[source] sqlx::Error),
}

impl DbError {
    /// Whether trying again, without any change, can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Serialization(_))
    }

    /// Name of the violated constraint, for [`DbError::Conflict`] only.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Conflict { constraint, .. } => Some(constraint),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::RowCount { expected: 1, got: 0 },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => {
                let constraint = database.constraint().map(str::to_owned);
                match (database.code().as_deref().map(class_of), constraint) {
                    (Some(Class::Unavailable), _) => Self::Unavailable(error),
                    (Some(Class::Serialization), _) => Self::Serialization(error),
                    (Some(Class::Data), _) => Self::Data(error),
                    (Some(Class::Conflict), Some(constraint)) => Self::Conflict { constraint, source: error },
                    _ => Self::Other(error),
                }
            }
            _ => Self::Other(error),
        }
    }
}

/// Whether an error from below, however wrapped, says that the transaction may be tried again.
pub(crate) fn is_serialization_failure(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        matches!(error.downcast_ref(), Some(DbError::Serialization(_)))
            || error
                .downcast_ref::<sqlx::Error>()
                .and_then(sqlx::Error::as_database_error)
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| class_of(&code) == Class::Serialization)
    })
}

/// Fails with [`DbError::RowCount`] unless the statement touched exactly `expected` rows.
pub fn expect_rows(result: &PgQueryResult, expected: u64) -> Result<(), DbError> {
    match result.rows_affected() {
        got if got == expected => Ok(()),
        got => Err(DbError::RowCount { expected, got }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Unavailable,
    Serialization,
    Conflict,
    Data,
    Other,
}

/// Classes of SQLSTATE, PostgreSQL manual, appendix A.
fn class_of(code: &str) -> Class {
    match code {
        "40001" | "40P01" => Class::Serialization,
        "23505" | "23P01" => Class::Conflict,
        // NUL in a text, NUL in a JSON document, a date or number out of range, a text that is no value of its type.
        // The rest of class 22 (division by zero, wrong arguments of functions) would be a defect of ours.
        "22021" | "22P05" | "22008" | "22003" | "22P02" => Class::Data,
        // Shutdown by an administrator, crash of another backend, not yet started.
        // A lock or answer not in time, a server that became a replica.
        "57P01" | "57P02" | "57P03" | "55P03" | "57014" | "25006" => Class::Unavailable,
        // Connection lost; out of disk, memory or connections.
        code if code.starts_with("08") || code.starts_with("53") => Class::Unavailable,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_row_is_a_wrong_row_count() {
        let error = DbError::from(sqlx::Error::RowNotFound);
        assert!(matches!(error, DbError::RowCount { expected: 1, got: 0 }));
        assert!(!error.is_retryable());
    }

    #[test]
    fn a_broken_connection_may_be_retried() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for error in [sqlx::Error::Io(refused), sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed] {
            assert!(DbError::from(error).is_retryable());
        }
    }

    #[test]
    fn sqlstates_fall_into_classes() {
        assert_eq!(class_of("40P01"), Class::Serialization);
        assert_eq!(class_of("08006"), Class::Unavailable);
        assert_eq!(class_of("57P03"), Class::Unavailable);
        assert_eq!(class_of("23505"), Class::Conflict);
        assert_eq!(class_of("23503"), Class::Other);
        for code in ["22021", "22P05", "22008", "22003", "22P02"] {
            assert_eq!(class_of(code), Class::Data);
        }
        assert_eq!(class_of("22012"), Class::Other);
        assert_eq!(class_of("57014"), Class::Unavailable);
        assert_eq!(class_of("53100"), Class::Unavailable);
        assert_eq!(class_of("42501"), Class::Other);
    }
}
