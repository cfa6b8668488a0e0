//! Monthly partitions of the append-only tables, and bounds on their UUIDv7 keys.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::DbError;

/// Makes the partitions of `parents` for the month before `now`, its own month and `months_ahead`
/// months more. What exists is left alone.
///
/// The SQL function `make_partition` does the work, so the caller needs no right to create tables.
pub async fn ensure_partitions(
    pool: &PgPool,
    parents: &[&str],
    now: DateTime<Utc>,
    months_ahead: u32,
) -> Result<(), DbError> {
    let mut connection = pool.acquire().await?;
    for parent in parents {
        for (from, to) in months_around(now, months_ahead) {
            sqlx::query("SELECT make_partition($1, $2, $3)")
                .bind(parent)
                .bind(from)
                .bind(to)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// The smallest UUIDv7 that can be made at `at` or later, to the millisecond: rows of the time range
/// `a..b` are those with `id >= id_floor(a) AND id < id_floor(b)`.
pub fn id_floor(at: DateTime<Utc>) -> Uuid {
    // Rounded up, so that no id of an earlier millisecond is inside the range.
    let millis = at.timestamp_micros().max(0).unsigned_abs().div_ceil(1000);
    Uuid::from_u128(u128::from(millis) << 80)
}

fn months_around(now: DateTime<Utc>, ahead: u32) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let this = month_start(now);
    let first = this - Months::new(1);
    (0..ahead + 2)
        .map(|offset| (first + Months::new(offset), first + Months::new(offset + 1)))
        .map(|(from, to)| (midnight(from), midnight(to)))
        .collect()
}

fn month_start(now: DateTime<Utc>) -> NaiveDate {
    let date = now.date_naive();
    date.with_day(1).unwrap_or(date)
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn months_run_from_the_one_before_to_the_last_ahead_without_a_gap() {
        let months = months_around(at("2026-11-23T10:00:00Z"), 3);
        assert_eq!(months.len(), 5);
        assert_eq!(months[0].0, at("2026-10-01T00:00:00Z"));
        assert_eq!(months[4].1, at("2027-03-01T00:00:00Z"));
        assert!(months.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }

    #[test]
    fn the_last_day_of_a_month_belongs_to_that_month() {
        let months = months_around(at("2026-03-31T23:59:59.999999Z"), 0);
        assert_eq!(months[1], (at("2026-03-01T00:00:00Z"), at("2026-04-01T00:00:00Z")));
    }

    #[test]
    fn the_floor_lies_below_every_id_of_its_millisecond() {
        let time = at("2026-06-01T00:00:00.001Z");
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, 1_780_272_000, 1_000_000);
        let made = Uuid::new_v7(stamp);
        assert!(id_floor(time) < made);
        assert!(made < id_floor(time + chrono::TimeDelta::milliseconds(1)));
        assert!(made < id_floor(time + chrono::TimeDelta::microseconds(1)));
    }
}
