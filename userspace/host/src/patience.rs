//! Waiting for others no longer than a limit, of which only the time counts in which this machine could have seen them.
//!
//! A timer that fires late says that this process did not run: whatever came meanwhile lay unread, and what was to be sent
//! next was not. So a wait looks at the clock several times. A look that comes late does not count; the wait is that much
//! longer, and where more of it was lost than was to be waited, nothing can be said of whoever was waited for.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

/// How often the clock is looked at within a limit.
const LOOKS: u32 = 10;
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Why there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    /// It did not come within the limit.
    #[error("no answer in time")]
    Timeout,
    /// This machine did not run for so long, while it was waited for.
    #[error("this machine was too busy to wait: {} ms were lost", .0.as_millis())]
    Starved(Duration),
}

/// Waits for `future` and returns its output, if it comes within `limit`. Takes twice that at most, plus the delay of
/// the last look.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Late> {
    let mut future = pin!(future);
    let look = (limit / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
    let begun = Instant::now();
    let (mut looked, mut lost) = (begun, Duration::ZERO);
    loop {
        let end = begun + limit + lost;
        let due = end.min(looked + look);
        if let Ok(output) = timeout_at(due, future.as_mut()).await {
            return Ok(output);
        }
        let now = Instant::now();
        // When within the look it stopped running cannot be known, so none of it counts.
        if now.saturating_duration_since(due) > look {
            lost += now.saturating_duration_since(looked);
            if lost > limit {
                return Err(Late::Starved(lost));
            }
        } else if now >= end {
            return Err(Late::Timeout);
        }
        looked = now;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use tokio::time::sleep;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_a_limit_on_a_machine_that_runs() {
        for limit in [1, 9, 100, 500, 10_000] {
            let begun = Instant::now();
            assert_eq!(within(ms(limit), pending::<()>()).await, Err(Late::Timeout));
            let took = begun.elapsed();
            assert!(took >= ms(limit) && took <= ms(limit + 2), "{limit}: {took:?}");
            assert_eq!(within(ms(limit), async { 7 }).await, Ok(7));
            assert_eq!(within(ms(limit + 1), sleep(ms(limit))).await, Ok(()));
        }
    }

    /// Has the whole process stand still, as far as this runtime of one thread can tell.
    fn stands_still(after: Duration, length: Duration) {
        tokio::spawn(async move {
            sleep(after).await;
            thread::sleep(length);
        });
    }

    /// Three steps of which each takes a part of the limit: with more than a second lost in the first, there is still time
    /// for the others.
    #[tokio::test]
    async fn lost_time_does_not_count() {
        stands_still(ms(300), ms(1200));
        let begun = Instant::now();
        let steps = async {
            for _ in 0..3 {
                sleep(ms(600)).await;
            }
        };
        let came = within(ms(2000), steps).await;
        assert_eq!(came, Ok(()), "after {:?}", begun.elapsed());
        assert!(begun.elapsed() > ms(2000), "a plain timeout had fired: {:?}", begun.elapsed());
    }

    /// Where more was lost than was to be waited, nothing is said of the other side.
    #[tokio::test]
    async fn a_machine_that_stood_still_says_nothing() {
        stands_still(ms(50), ms(1000));
        let came = within(ms(300), pending::<()>()).await;
        assert!(matches!(came, Err(Late::Starved(lost)) if lost >= ms(900)), "{came:?}");
    }
}
