//! Closed-loop load: N clients, each sending its next request when the last one was answered.

use anyhow::Result;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

/// What one run of a load measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub requests: usize,
    pub elapsed: Duration,
    /// ascending
    pub latencies: Vec<Duration>,
}

impl Measured {
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.requests).unwrap_or(u32::MAX)) / self.elapsed.as_secs_f64()
    }

    /// The latency below which `percent` of the requests stayed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let index =
            (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |p| self.percentile(p).as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>8.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms",
            self.per_second(),
            ms(50),
            ms(99)
        )
    }
}

/// Runs `clients` loops of `each` requests; `make` prepares one client, which is called with the
/// number of the request.
///
/// # Errors
/// The first error of any client.
pub async fn run<C, F, Fut>(clients: usize, each: usize, make: F) -> Result<Measured>
where
    F: Fn(usize) -> Result<C>,
    C: FnMut(usize) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let mut tasks = Vec::with_capacity(clients);
    let start = Instant::now();
    for index in 0..clients {
        let mut call = make(index)?;
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for number in 0..each {
                let begun = Instant::now();
                call(number).await?;
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        }));
    }
    let mut latencies = Vec::with_capacity(clients * each);
    for task in tasks {
        latencies.extend(task.await??);
    }
    let elapsed = start.elapsed();
    latencies.sort_unstable();
    Ok(Measured {
        requests: latencies.len(),
        elapsed,
        latencies,
    })
}
