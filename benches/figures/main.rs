//! Draws the figures from the data that `scaling`, `latency` and `serial -- --cores` wrote:
//! `cargo bench --bench figures`.

mod cores;
mod data;
mod latency;
mod page;
mod throughput;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    throughput::draw(&data::read(data::THROUGHPUT)?)?;
    latency::draw(&data::read(data::LATENCY)?)?;
    cores::draw(&data::read(data::CORES)?)
}
