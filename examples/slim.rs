//! Slims an adapter from a program, with the defaults of `lora-slim slim`.
//!
//! ```text
//! cargo run --release --example slim -- ADAPTER BASE SAMPLES OUT
//! ```

use lora_slim::{Result, Samples, Slim};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [adapter, base, samples, output] = arguments.as_slice() else {
        println!("usage: slim ADAPTER BASE SAMPLES OUT");
        return Ok(());
    };
    let slim = Slim::new(adapter, Samples::file(samples)).base(base).margin(0.05);
    let slimmed = slim.evaluate_with(&mut |progress| {
        eprint!("\rlayer {:>2}", progress.layer);
        true
    })?;
    eprintln!();
    for note in slimmed.notes() {
        eprintln!("note: {note}");
    }
    for point in &slimmed.report().curve {
        println!("{:>3}  {:.4}", point.boundary(), point.loss());
    }
    slimmed.write(output)?;
    println!("kept the layers below {} in {output}", slimmed.boundary());
    Ok(())
}
