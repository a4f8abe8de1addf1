//! Makes the list of pipelines from the dependencies: a new service is one crate and one line in `Cargo.toml`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = fs::read_to_string("Cargo.toml")?;
    let mut list = String::from("vec![\n");
    for line in manifest.lines() {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if name.starts_with("e2e-") {
            writeln!(list, "    {}::pipeline(),", name.replace('-', "_")).map_err(io::Error::other)?;
        }
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("pipelines.rs"), list)?;
    println!("cargo::rerun-if-changed=Cargo.toml");
    Ok(())
}
