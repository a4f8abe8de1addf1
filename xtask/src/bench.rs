//! `cargo xtask bench`.

use crate::flags::Bench;

pub(crate) fn run(_: &Bench) -> anyhow::Result<u8> {
    anyhow::bail!("no measurement is there yet")
}
